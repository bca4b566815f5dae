"""The members of a sweep, as their folders tell."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

from nimble_lightning.ops.objective import MODES, Objective, choose, from_json
from nimble_lightning.report import changed_settings, quantities, shipped_defaults, usage_section
from nimble_lightning.report.folder_source import Doubts, FolderSource, members_of, read_json
from nimble_lightning.run_folder import PAGE, SWEEP


@dataclass(frozen=True)
class SweepMember:
    """One run of a sweep.

    Attributes:
        folder: Its name.
        status: How it ended.
        message: Why, for people.
        settings: Everything that was asked.
        told: The names of what tells it from others.
        metrics: What it reached.
        seconds: What it took.
        kwh: What it took.
        has_page: Whether there is a page of its own to link to.
    """

    folder: str
    status: str
    message: str
    settings: Mapping[str, Any]
    told: frozenset[str]
    metrics: Mapping[str, float]
    seconds: float | None
    kwh: float | None
    has_page: bool

    @property
    def link(self) -> str:
        return f"{quote(self.folder)}/{PAGE}" if self.has_page else ""


class SweepFolder:
    """All members of a sweep, with what varies between them and what they are judged by."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.doubts = Doubts()
        found = sorted(members_of(folder), key=lambda place: (len(place.name), place.name))
        self._sources = [FolderSource(place) for place in found]
        told = [self.doubts.unless(s.folder.name, partial(read_member, s), None) for s in self._sources]
        self.members = [each for each in told if each is not None]

    @cached_property
    def name(self) -> str:
        return self._sources[0].name if self._sources else self.folder.name

    @cached_property
    def varied(self) -> list[str]:
        """The settings that are not the same in all members, in the order of the configuration."""
        names = dict.fromkeys(name for m in self.members for name in m.settings if name in m.told)
        return [
            name for name in names if len({quantities.number(m.settings.get(name)) for m in self.members}) > 1
        ]

    @cached_property
    def objective(self) -> Objective | None:
        """What members are judged by: as the sweep was summed up, as all of them say, or by their figures."""
        summed = read_json(self.folder, SWEEP)
        if isinstance(summed, dict) and isinstance(objectives := summed.get("objectives"), dict):
            for metric, way in objectives.items():
                return Objective(metric, MODES.get(str(way)), str(summed.get("reason") or ""))
        said = {found for source in self._sources if (found := from_json(source.run.get("best"))) is not None}
        if said:
            return said.pop() if len(said) == 1 else None
        names = dict.fromkeys(name for member in self.members for name in member.metrics)
        asked = self._sources[0].job if self._sources else {}
        monitor = asked.get("monitor") if asked.get("monitor") in names else None
        return choose(names, monitor, asked.get("mode") if monitor else None)

    @property
    def metric(self) -> str | None:
        return None if self.objective is None else self.objective.metric

    def value(self, member: SweepMember) -> float | None:
        """What a member reached; None where that is no finite number."""
        value = member.metrics.get(self.metric or "")
        return value if value is not None and math.isfinite(value) else None

    def ranked(self) -> list[SweepMember]:
        """Best first; then, in their order, those that reached nothing."""
        reached = {m.folder: rank for m in self.members if (rank := self.rank(m)) is not None}
        order = {folder: place for place, folder in enumerate(sorted(reached, key=lambda f: reached[f]))}
        return sorted(self.members, key=lambda member: order.get(member.folder, len(order)))

    def rank(self, member: SweepMember) -> float | None:
        """The lower the better; None of what reached nothing, or where nobody knows what is better."""
        value = self.value(member)
        if self.objective is None or self.objective.mode is None or value is None:
            return None
        return self.objective.rank(value)


def read_member(source: FolderSource) -> SweepMember:
    """A run, by what its folder tells."""
    run, job = source.run, source.job
    given = run.get("metrics")
    metrics = given if isinstance(given, Mapping) else {}
    kwh = usage_section.energy(source.usage)
    told = changed_settings.told(job)
    return SweepMember(
        folder=source.folder.name,
        status=str(run.get("status") or "unknown"),
        message=str(run.get("message") or ""),
        settings={**dict(_leaves(job)), **told},
        told=frozenset(told),
        metrics={
            str(name): float(value)
            for name, value in metrics.items()
            if isinstance(value, int | float) and name != "global_step" and not str(name).startswith("train_")
        },
        seconds=source.seconds if run.get("ended") is not None else None,
        kwh=kwh.value if kwh is not None else None,
        has_page=(source.folder / PAGE).exists(),
    )


def _leaves(job: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    return ((".".join(path), value) for path, value in shipped_defaults.leaves(job))
