"""Everything known at the start: the devices, how they are linked, the machine, and what is worth a look."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nimble_lightning.gpu.condition import Condition, concerns, condition
from nimble_lightning.gpu.device import Gpu
from nimble_lightning.gpu.host import Host
from nimble_lightning.gpu.links import Link, links
from nimble_lightning.gpu.nvml import why_not
from nimble_lightning.gpu.visible_devices import cuda_is_up


@dataclass(frozen=True)
class Overview:
    """What is printed at the start.

    Attributes:
        devices: Those of this process, or of all processes of this machine.
        driver: Its version; None when unknown.
        cuda: The newest version of CUDA the driver can do.
        links: How each pair of devices is linked.
        host: The machine, as in `gpu.jsonl`.
        warnings: What costs money, a sentence each.
        missing: Why there is no device; empty when there is one.
    """

    devices: list[Condition]
    driver: str | None
    cuda: str | None
    links: list[Link]
    host: dict[str, Any]
    warnings: list[str]
    missing: str

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def overview(gpus: Sequence[Gpu], folder: Path = Path(), *, siblings: bool = False) -> Overview:
    """Look at devices and the machine they are in.

    Args:
        gpus: The devices.
        folder: Whose disk counts.
        siblings: Whether other children of this process's parent are ranks of the same run.
    """
    found = [condition(gpu, siblings=siblings) for gpu in gpus]
    driver = gpus[0].nvml.ask("nvmlSystemGetDriverVersion") if gpus else None
    version = gpus[0].nvml.ask("nvmlSystemGetCudaDriverVersion") if gpus else None
    return Overview(
        devices=found,
        driver=driver,
        cuda=None if version is None else f"{version // 1000}.{version % 1000 // 10}",
        links=links(gpus),
        host=Host(folder).read(),
        warnings=[text for one in found for text in concerns(one)] + _about_numbers(found),
        missing="" if gpus else why_not() or _hidden(),
    )


def _about_numbers(found: Sequence[Condition]) -> list[str]:
    """Only CUDA knows which of several kinds of cards it counts first."""
    alike = len({one.name for one in found}) < 2
    if alike or cuda_is_up() or os.environ.get("CUDA_DEVICE_ORDER") == "PCI_BUS_ID":
        return []
    return ["The cards differ and CUDA may count them otherwise, unless CUDA_DEVICE_ORDER=PCI_BUS_ID is set"]


def _hidden() -> str:
    shown = os.environ.get("CUDA_VISIBLE_DEVICES")
    return "none asked for" if shown is None else f"CUDA_VISIBLE_DEVICES={shown}"
