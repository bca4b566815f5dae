"""The charts of a run: which metrics belong into one, their order, and what is marked on them."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nimble_lightning.notifications.events import Event, EventKind
from nimble_lightning.ops.metric_names import direction
from nimble_lightning.report import quantities
from nimble_lightning.report.charts.plot import Across, Line, Mark, Plot
from nimble_lightning.report.curves import Curve

MOST_PANELS = 24
MOST_LINES = 6
_MOST_LISTED = 300

_STAGE = re.compile(r"^(train|training|val|valid|validation|eval|evaluation|test)[_/.\- ]+", re.IGNORECASE)
_ENDING = re.compile(r"[_/.\- ](epoch|step)$", re.IGNORECASE)
_ORDER = ("loss", "score", "learning rate", "gradient norm", "other")
_RATE = re.compile(r"(^lr($|[_/.\- ]))|learning[_ ]?rate", re.IGNORECASE)
_NORM = re.compile(r"grad\w*[_/.\- ]*norm|norm[_/.\- ]*grad", re.IGNORECASE)


_MOST_MARKS = 60


@dataclass(frozen=True)
class Listed:
    """A metric that got no chart, in a line of a table."""

    name: str
    last: float
    low: float
    high: float


def plots(curves: Mapping[str, Curve], marks: Sequence[Mark]) -> tuple[list[Plot], list[Listed]]:
    """The charts of a run, and what was left for a table because it would be too much."""
    groups: dict[tuple[int, str, str], list[Curve]] = {}
    for curve in curves.values():
        groups.setdefault(_home(curve.name), []).append(curve)
    span = _span(curves.values())
    drawn: list[Plot] = []
    left: list[Curve] = []
    for (place, _, title), members in sorted(groups.items()):
        members.sort(key=lambda curve: (not curve.name.lower().startswith("train"), curve.name))
        shown = members[:MOST_LINES] if len(drawn) < MOST_PANELS else []
        left += members[len(shown) :]
        if shown:
            lines = [Line(curve.name, curve.buckets, colour) for colour, curve in enumerate(shown)]
            log = None if _ORDER[place] in ("loss", "gradient norm") else False
            drawn.append(Plot(title, lines, marks, Across(span=span), log=log))
    return drawn, [_listed(curve) for curve in sorted(left, key=lambda c: c.name)[:_MOST_LISTED]]


def stem(name: str) -> str:
    """What a metric measures, without the stage it was measured in: `loss` of `val/loss_epoch`."""
    return _ENDING.sub("", _STAGE.sub("", name)) or name


def _home(name: str) -> tuple[int, str, str]:
    """Where the chart of a metric comes: by kind, within it by a name, and its title."""
    if _RATE.search(name):
        return _ORDER.index("learning rate"), "", "Learning rate"
    if _NORM.search(name):
        return _ORDER.index("gradient norm"), "", "Gradient norm"
    base = stem(name)
    if direction(base) == "min":
        # The plain one leads.
        return _ORDER.index("loss"), "" if base.lower() == "loss" else base.lower(), base
    kind = "score" if _STAGE.match(name) or "/" not in name else "other"
    return _ORDER.index(kind), base.lower(), base


def _span(curves: Iterable[Curve]) -> tuple[float, float] | None:
    """The steps from the first to the last of any curve: charts below each other then line up."""
    ends = [x for c in curves for b in (*c.buckets[:1], *c.buckets[-1:]) for x in (b.first, b.last)]
    return (min(ends), max(ends)) if ends and min(ends) < max(ends) else None


def _listed(curve: Curve) -> Listed:
    known = [b for b in curve.buckets if b.count]
    low = min((b.low for b in known), default=math.nan)
    high = max((b.high for b in known), default=math.nan)
    return Listed(curve.name, curve.last, low, high)


def step_marks(attempts: Sequence[Mapping[str, Any]], happened: Sequence[Event]) -> list[Mark]:
    """Where attempts went on, and what else happened at a step; the newest, if there are very many."""
    marks = [
        Mark(float(attempt["first_step"]), "retry", _restart(before, attempt))
        for before, attempt in zip(attempts, attempts[1:], strict=False)
        if isinstance(attempt.get("first_step"), int | float)
    ]
    for event in happened:
        step = event.facts.get("step")
        kind = EventKind.named(event.kind)
        if kind and kind.mark and isinstance(step, int | float):
            marks.append(Mark(float(step), kind.tone, _told(kind, event.facts, float(step))))
    return sorted(marks[-_MOST_MARKS:], key=lambda mark: mark.x)


def time_marks(attempts: Sequence[Mapping[str, Any]], began: float) -> list[Mark]:
    """When attempts began, in seconds from the beginning of the run."""
    return [
        Mark(float(attempt["start"]) - began, "retry", _restart(before, attempt))
        for before, attempt in zip(attempts, attempts[1:], strict=False)
        if isinstance(attempt.get("start"), int | float)
    ][-_MOST_MARKS:]


def _restart(before: Mapping[str, Any], attempt: Mapping[str, Any]) -> str:
    step = quantities.number(attempt.get("first_step") or 0)
    why = before.get("reason") or before.get("cause") or "the one before ended"
    return f"attempt {attempt.get('number', '')} goes on from step {step}: {why}"


def _told(kind: EventKind, facts: Mapping[str, Any], step: float) -> str:
    why = facts.get("reason") or facts.get("message") or kind.mark
    return f"{kind.replace('_', ' ')} at step {quantities.number(step)}: {why}"
