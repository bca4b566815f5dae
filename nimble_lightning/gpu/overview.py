"""Everything known at the start: the devices, how they are linked, the machine, and what is worth a look."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

from nimble_lightning.gpu.condition import Condition, concerns, condition
from nimble_lightning.gpu.device import Gpu
from nimble_lightning.gpu.host import Host
from nimble_lightning.gpu.nvml import why_not
from nimble_lightning.gpu.visible_devices import cuda_is_up

_NVLINK = 2
# The least that is passed on the way, by NVML's levels.
_LEVELS = {
    0: "same board",
    10: "one PCIe switch",
    20: "PCIe switches",
    30: "a PCIe host bridge",
    40: "the processor",
    50: "the link between processors",
}


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
    links: list[_Link]
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


@dataclass(frozen=True)
class _Link:
    """What two devices talk over; None when unknown."""

    one: int
    other: int
    way: str | None


def links(gpus: Sequence[Gpu]) -> list[_Link]:
    """Every pair of the devices."""
    return [_Link(one.index, other.index, _way(one, other)) for one, other in combinations(gpus, 2)]


def summary(found: Sequence[_Link]) -> str:
    """One line: `NVLink` when all pairs are alike, else which pairs are linked how."""
    pairs: dict[str, list[str]] = {}
    for link in found:
        pairs.setdefault(link.way or "unknown", []).append(f"{link.one}-{link.other}")
    if len(pairs) == 1:
        return next(iter(pairs))
    return "; ".join(f"{way}: {', '.join(which)}" for way, which in pairs.items())


def _way(one: Gpu, other: Gpu) -> str | None:
    ask, here, there = one.nvml.ask, one.unit.card, other.unit.card
    if ask("nvmlDeviceGetP2PStatus", here, there, _NVLINK) == 0:
        return "NVLink"
    return _LEVELS.get(ask("nvmlDeviceGetTopologyCommonAncestor", here, there))
