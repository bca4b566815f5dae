"""What happened to a run, as marks on its charts and lines below them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nimble_lightning.ops.events import Event
from nimble_lightning.report import words
from nimble_lightning.report.charts.plot import Mark

MOST = 60

_WORDS = {
    "rollback": "went back to the last save",
    "non_finite": "a step with no finite number",
    "alarm": "alarm",
    "budget": "budget used up",
}
_CLASSES = {"rollback": "warn", "non_finite": "bad", "alarm": "warn", "budget": "warn"}


def of_steps(attempts: Sequence[Mapping[str, Any]], happened: Sequence[Event]) -> list[Mark]:
    """Where attempts went on, and what else happened at a step; the newest, if there are very many."""
    marks = [
        Mark(float(attempt["first_step"]), "retry", _restart(before, attempt))
        for before, attempt in zip(attempts, attempts[1:], strict=False)
        if isinstance(attempt.get("first_step"), int | float)
    ]
    for event in happened:
        step = event.facts.get("step")
        if event.kind in _WORDS and isinstance(step, int | float):
            marks.append(Mark(float(step), _CLASSES[event.kind], _told(event, float(step))))
    return sorted(marks[-MOST:], key=lambda mark: mark.x)


def of_times(attempts: Sequence[Mapping[str, Any]], began: float) -> list[Mark]:
    """When attempts began, in seconds from the beginning of the run."""
    return [
        Mark(float(attempt["start"]) - began, "retry", _restart(before, attempt))
        for before, attempt in zip(attempts, attempts[1:], strict=False)
        if isinstance(attempt.get("start"), int | float)
    ][-MOST:]


def _restart(before: Mapping[str, Any], attempt: Mapping[str, Any]) -> str:
    step = words.number(attempt.get("first_step") or 0)
    why = before.get("reason") or before.get("cause") or "the one before ended"
    return f"attempt {attempt.get('number', '')} goes on from step {step}: {why}"


def _told(event: Event, step: float) -> str:
    why = event.facts.get("reason") or event.facts.get("message") or _WORDS[event.kind]
    return f"{event.kind.replace('_', ' ')} at step {words.number(step)}: {why}"
