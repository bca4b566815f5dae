"""What happened to a run, as marks on its charts and lines below them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nimble_lightning.notifications.events import Event, EventKind
from nimble_lightning.report import quantities
from nimble_lightning.report.charts.plot import Mark

MOST = 60


def of_steps(attempts: Sequence[Mapping[str, Any]], happened: Sequence[Event]) -> list[Mark]:
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
    return sorted(marks[-MOST:], key=lambda mark: mark.x)


def of_times(attempts: Sequence[Mapping[str, Any]], began: float) -> list[Mark]:
    """When attempts began, in seconds from the beginning of the run."""
    return [
        Mark(float(attempt["start"]) - began, "retry", _restart(before, attempt))
        for before, attempt in zip(attempts, attempts[1:], strict=False)
        if isinstance(attempt.get("start"), int | float)
    ][-MOST:]


def _restart(before: Mapping[str, Any], attempt: Mapping[str, Any]) -> str:
    step = quantities.number(attempt.get("first_step") or 0)
    why = before.get("reason") or before.get("cause") or "the one before ended"
    return f"attempt {attempt.get('number', '')} goes on from step {step}: {why}"


def _told(kind: EventKind, facts: Mapping[str, Any], step: float) -> str:
    why = facts.get("reason") or facts.get("message") or kind.mark
    return f"{kind.replace('_', ' ')} at step {quantities.number(step)}: {why}"
