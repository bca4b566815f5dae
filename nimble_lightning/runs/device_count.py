"""How many workers a machine gets, without touching a device."""

from __future__ import annotations

import os

from nimble_lightning.errors import RequestError
from nimble_lightning.settings import Processes

_ON_GPUS = ("auto", "gpu", "cuda")


def count(asked: Processes) -> int:
    """One worker a device: what `lightning.devices` and `lightning.accelerator` come to here."""
    devices = asked.devices
    if isinstance(devices, list | tuple):
        return len(devices)
    if isinstance(devices, str) and devices.lstrip("-").isdigit():
        devices = int(devices)
    if isinstance(devices, str) and "," in devices:
        return len([d for d in devices.split(",") if d.strip()])
    if isinstance(devices, int) and devices > 0:
        return devices
    if devices not in ("auto", -1):
        raise RequestError(
            f"lightning.devices={devices!r}: expected a number, a list of device numbers, -1 or auto."
        )
    return max(1, _gpus()) if asked.accelerator in _ON_GPUS else 1


def require(asked: Processes) -> None:
    """Refuse to start where the accelerator that was asked for is not.

    Raises:
        RequestError: There is none of it here.
    """
    accelerator = asked.accelerator
    if accelerator not in ("cuda", "gpu"):
        return
    import torch

    # AMD's are called cuda too, and not counted by NVML; a Mac's is a gpu only.
    mac = accelerator == "gpu" and torch.backends.mps.is_available()
    if torch.version.hip is None and not mac and _gpus() == 0:
        raise RequestError(
            f"lightning.accelerator={accelerator}, but torch finds no such device here\n"
            "Leave it out to use what there is, or ask for lightning.accelerator=cpu"
        )


def require_one(asked: Processes) -> None:
    """Refuse to train on several devices in one process.

    Raises:
        RequestError: There would be several.
    """
    if (several := count(asked)) > 1:
        raise RequestError(
            f"launch=inline trains in this one process, and lightning.devices={asked.devices} asks for "
            f"{several}\nAdd lightning.devices=1, or leave launch=inline out"
        )


def visible(asked: Processes) -> list[str]:
    """The names of the GPUs a run may use, as CUDA_VISIBLE_DEVICES spells them; none for a run on the CPU."""
    if asked.accelerator not in _ON_GPUS:
        return []
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is None:
        return [str(index) for index in range(_gpus())]
    names = [name.strip() for name in named.split(",") if name.strip()]
    # Slices of a GPU are not counted by torch, which answers with less than 0.
    return names if (there := _gpus()) < 0 else names[:there]


def _gpus() -> int:
    """Asked through NVML, which unlike CUDA can be asked in a process that will fork."""
    import torch

    return torch.cuda._device_count_nvml() if torch.version.cuda else 0
