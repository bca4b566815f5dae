"""The runs below some folders, as rows: found, filtered, sorted, and what differs between them."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from operator import eq, ge, gt, le, lt, ne
from pathlib import Path
from typing import Any

from nimble_lightning.errors import RequestError
from nimble_lightning.ops import plain_files
from nimble_lightning.ops.metric_names import direction
from nimble_lightning.ops.objective import Objective, choose, from_json
from nimble_lightning.ops.similar_names import unknown
from nimble_lightning.report import quantities
from nimble_lightning.report.folder_source import Doubts, FolderSource
from nimble_lightning.report.sweep_members import SweepMember, read_member
from nimble_lightning.run_folder import RECORD, seen_from_here

_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "<=": le,
    ">=": ge,
    "!=": ne,
    "==": eq,
    "=": eq,
    "<": lt,
    ">": gt,
}
_CONDITION = re.compile(r"\s*([^<>=!\s]+)\s*(<=|>=|!=|==|=|<|>)\s*(.*?)\s*")
_PARAMS = "params."
# How a run was started, which makes it no other.
_CIRCUMSTANCES = ("sweep_id", "log.terminal")


@dataclass(frozen=True)
class ListedRun:
    """A run, by what its folder tells."""

    source: FolderSource
    facts: SweepMember

    @property
    def folder(self) -> Path:
        return self.source.folder

    @property
    def name(self) -> str:
        """Its folder, as it is typed where one is."""
        return str(seen_from_here(self.folder))

    @property
    def started(self) -> float | None:
        return quantities.seconds(self.source.run.get("started"))

    @cached_property
    def objective(self) -> Objective | None:
        """What it is judged by: as it says, or by its figures."""
        asked = from_json(self.source.run.get("best"))
        return asked if asked and asked.metric in self.facts.metrics else choose(self.facts.metrics)

    @cached_property
    def fields(self) -> Mapping[str, Any]:
        """Whatever it can be filtered and sorted by; a parameter also by its name alone."""
        settings = self.facts.settings
        short = {
            key.removeprefix(_PARAMS): value for key, value in settings.items() if key.startswith(_PARAMS)
        }
        own = {
            "run": self.name,
            "status": self.facts.status,
            "started": self.started,
            "seconds": self.facts.seconds,
            "kwh": self.facts.kwh,
        }
        return {**short, **settings, **self.facts.metrics, **own}


def find_runs(places: Iterable[Path], doubts: Doubts) -> list[ListedRun]:
    """The runs in and below folders, each once, the newest first.

    Args:
        places: The folders.
        doubts: Takes the names of those that cannot be read.

    Raises:
        RequestError: One of the folders is not there.
    """
    found: dict[Path, ListedRun] = {}
    for place in places:
        if not place.is_dir():
            raise RequestError(f"there is no folder {place}; expected a run's, or one that holds runs")
        for folder in _run_folders(place.resolve()):
            source = FolderSource(folder)
            facts = doubts.unless(str(seen_from_here(folder)), partial(read_member, source), None)
            if facts is not None:
                found[folder] = ListedRun(source, facts)
    return sorted(found.values(), key=lambda run: -(run.started or 0.0))


def _run_folders(place: Path) -> Iterator[Path]:
    """What is inside a run is its own; no link is followed."""
    for folder, inner, files in os.walk(place):
        if RECORD in files and plain_files.is_inside(Path(folder), Path(folder, RECORD)):
            yield Path(folder)
            inner.clear()
        inner[:] = sorted(name for name in inner if not name.startswith("."))


def where(runs: Sequence[ListedRun], condition: str) -> list[ListedRun]:
    """Those that meet a condition such as `lr<1e-3` or `status=failed`.

    What a run does not have meets none.

    Raises:
        RequestError: It cannot be read, or names what no run has.
    """
    read = _CONDITION.fullmatch(condition)
    if read is None or not read[3]:
        raise RequestError(f"--where {condition}: expected NAME<VALUE, with <, <=, =, !=, >= or >")
    name, sign, text = read.groups()
    _require_field(runs, "--where", name)
    expected = _number(text)
    return [run for run in runs if _meets(run.fields.get(name), sign, text if expected is None else expected)]


def _meets(value: Any, sign: str, expected: float | str) -> bool:
    if value is None:
        return isinstance(expected, str) and expected in ("null", "None") and sign in ("=", "==")
    if isinstance(expected, str):
        value = str(value).lower() if isinstance(value, bool) else str(value)
    elif isinstance(value, bool) or not isinstance(value, int | float):
        return sign == "!="
    return _COMPARE[sign](value, expected)


def ordered(runs: Sequence[ListedRun], name: str) -> tuple[list[ListedRun], str]:
    """Best first by a figure, else the largest first; and in words which of the two it was.

    Raises:
        RequestError: No run has a field of that name.
    """
    _require_field(runs, "--sort", name)
    modes = {run.objective.mode for run in runs if run.objective and run.objective.metric == name}
    is_figure = any(name in run.facts.metrics for run in runs)
    mode = modes.pop() if len(modes) == 1 else (direction(name) if is_figure else None)
    words = {"min": "lowest first: lower is better", "max": "highest first: higher is better"}
    sign = 1.0 if mode == "min" else -1.0

    def place(run: ListedRun) -> tuple[int, float, str]:
        value = run.fields.get(name)
        if isinstance(value, int | float) and math.isfinite(value):
            return 0, sign * value, ""
        return (2, 0.0, "") if value is None else (1, 0.0, str(value))

    return sorted(runs, key=place), f"by {name}, {words.get(str(mode), 'highest first')}"


def varied(runs: Sequence[ListedRun]) -> list[str]:
    """The settings that are not the same in all runs."""
    names = dict.fromkeys(name for run in runs for name in run.facts.settings if name in run.facts.told)
    several = [name for name in names if len({repr(run.facts.settings.get(name)) for run in runs}) > 1]
    return [name for name in several if name not in _CIRCUMSTANCES]


def _require_field(runs: Sequence[ListedRun], option: str, name: str) -> None:
    known = dict.fromkeys(field for run in runs for field in run.fields)
    if runs and name not in known:
        raise RequestError(f"{option} {name}: {unknown('setting or metric', name, known)}")


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
