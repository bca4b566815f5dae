"""The starts of a run, how each ended, and what was written down about it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nimble_lightning.report import quantities

_FILE = re.compile(r"attempt-(\d+)\.rank-(\d+)\.json")
_MOST_TRACEBACK = 20_000
_MOST_ATTEMPTS = 200


@dataclass(frozen=True)
class AttemptEntry:
    """One start of the run, in words."""

    number: str
    began: str
    lasted: str
    steps: str
    ended: str
    reason: str


@dataclass(frozen=True)
class Failure:
    """What one rank wrote down when it failed."""

    title: str
    message: str
    traceback: str


def attempts(run: Mapping[str, Any]) -> tuple[list[AttemptEntry], int]:
    """The newest attempts, and how many there were before them."""
    listed = run.get("attempts")
    given = [entry for entry in listed if isinstance(entry, Mapping)] if isinstance(listed, list) else []
    return [_attempt(entry) for entry in given[-_MOST_ATTEMPTS:]], max(0, len(given) - _MOST_ATTEMPTS)


def failures(errors: Sequence[tuple[str, Mapping[str, Any]]]) -> list[Failure]:
    """What ranks wrote down, oldest first; not those that were only told to end."""
    return [_failure(name, error) for name, error in errors if not error.get("asked")]


def _attempt(entry: Mapping[str, Any]) -> AttemptEntry:
    start, end = entry.get("start"), entry.get("end")
    seconds = quantities.between(start, end)
    steps = [quantities.number(s) for s in (entry.get("first_step"), entry.get("last_step")) if s is not None]
    return AttemptEntry(
        number=str(entry.get("number", "")),
        began=quantities.clock(start),
        lasted="" if seconds is None else quantities.duration(seconds),
        steps=" to ".join(steps),
        ended=str(entry.get("cause") or "running").replace("_", " "),
        reason=str(entry.get("reason") or ""),
    )


def _failure(name: str, error: Mapping[str, Any]) -> Failure:
    found = _FILE.fullmatch(name)
    where = f"attempt {found[1]}, rank {found[2]}" if found else name
    step = error.get("step")
    at = f", step {quantities.number(step)}" if step is not None else ""
    traceback = str(error.get("traceback") or "")
    if len(traceback) > _MOST_TRACEBACK:
        half = _MOST_TRACEBACK // 2
        traceback = f"{traceback[:half]}\n  […]\n{traceback[-half:]}"
    message = f"{error.get('type', 'Error')}: {error.get('message', '')}"
    return Failure(f"{where}{at}", message[:2000], traceback)
