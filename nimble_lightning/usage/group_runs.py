"""Many accounts added up: by project, user, GPU or week."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from nimble_lightning.usage.figures import value_of


@dataclass
class Sum:
    """What the runs of a group took together.

    Attributes:
        group: What they have in common.
        cost: By currency; amounts in different ones are never added.
        unknown: Figures that some of the runs do not know.
    """

    group: str
    runs: int = 0
    attempts: int = 0
    wall_seconds: float = 0.0
    device_seconds: float = 0.0
    steps: int = 0
    samples: int = 0
    tokens: float = 0.0
    energy_kwh: float = 0.0
    co2e_kg: float = 0.0
    cost: dict[str, float] = field(default_factory=dict)
    unknown: set[str] = field(default_factory=set)

    def add(self, usage: Mapping[str, Any]) -> None:
        self.runs += 1
        for name in ("attempts", "wall_seconds", "device_seconds", "steps", "samples"):
            setattr(self, name, getattr(self, name) + usage[name])
        self._add("tokens", usage["tokens"])
        self._add("energy_kwh", usage["energy_kwh"]["total"])
        self._add("co2e_kg", usage["co2e_kg"])
        amount, currency = value_of(usage["cost"]["amount"]), usage["cost"]["currency"] or ""
        if amount is None:
            self.unknown.add("cost")
        else:
            self.cost[currency] = self.cost.get(currency, 0.0) + amount

    def _add(self, name: str, found: Any) -> None:
        value = value_of(found)
        if value is None:
            self.unknown.add(name)
        else:
            setattr(self, name, getattr(self, name) + value)


def _gpus(usage: Mapping[str, Any]) -> str:
    return ", ".join(sorted({device["name"] for device in usage["devices"]})) or "unknown"


def _week(usage: Mapping[str, Any]) -> str:
    """The week it started in, as ISO 8601 counts them."""
    if usage["started"] is None:
        return "unknown"
    year, week, _ = datetime.datetime.fromtimestamp(usage["started"]).isocalendar()
    return f"{year}-W{week:02d}"


GROUPS: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "project": lambda usage: str(usage["name"]),
    "user": lambda usage: str(usage.get("user") or "unknown"),
    "gpu": _gpus,
    "week": _week,
}


def summed(usages: Iterable[Mapping[str, Any]], by: str | None = None) -> list[Sum]:
    """One sum for each group, by name; without a group one for all."""
    group_of = GROUPS[by] if by else lambda usage: "all"
    sums: dict[str, Sum] = {}
    for usage in usages:
        group = group_of(usage)
        sums.setdefault(group, Sum(group)).add(usage)
    return [sums[group] for group in sorted(sums)]
