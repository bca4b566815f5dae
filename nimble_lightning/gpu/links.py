"""How devices reach each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

from nimble_lightning.gpu.device import Gpu

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
class Link:
    """What two devices talk over; None when unknown."""

    one: int
    other: int
    way: str | None


def links(gpus: Sequence[Gpu]) -> list[Link]:
    """Every pair of the devices."""
    return [Link(one.index, other.index, _way(one, other)) for one, other in combinations(gpus, 2)]


def summary(found: Sequence[Link]) -> str:
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
