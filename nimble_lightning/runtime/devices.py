"""How many workers a machine gets, without touching a device."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nimble_lightning.errors import RequestError


def count(lightning: Mapping[str, Any]) -> int:
    """One worker a device: what `lightning.devices` and `lightning.accelerator` come to here."""
    devices, accelerator = lightning.get("devices", "auto"), str(lightning.get("accelerator", "auto"))
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
    return max(1, _gpus()) if accelerator in ("auto", "gpu", "cuda") else 1


def _gpus() -> int:
    """Asked through NVML, which unlike CUDA can be asked in a process that will fork."""
    import torch

    return torch.cuda._device_count_nvml() if torch.version.cuda else 0
