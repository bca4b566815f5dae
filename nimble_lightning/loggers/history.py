"""Reading `metrics.jsonl`: the history that counts, out of all attempts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def read_metrics(path: str | Path) -> list[dict[str, Any]]:
    """The rows of a run as if it had never been interrupted, in the order they were logged.

    When an attempt goes back to an earlier step, what it logs replaces what earlier attempts logged from
    that step on, metric by metric: a last attempt that only tests does not take the training's curve
    away.
    """
    rows = list(lines(Path(path)))
    first = _first_steps(rows)
    history = []
    for row in rows:
        metrics = {
            name: float(value)
            for name, value in row["metrics"].items()
            if not _replaced(name, row, first[name])
        }
        if metrics:
            history.append({**row, "metrics": metrics})
    return history


def lines(path: Path) -> Iterator[dict[str, Any]]:
    """The whole lines of the file; one that is torn, or still being written, is passed over."""
    if not path.exists():
        return
    with path.open("rb") as file:
        for line in file:
            try:
                row = json.loads(line)
            except ValueError:
                continue
            if isinstance(row, dict) and line.endswith(b"\n"):
                yield row


def _first_steps(rows: list[dict[str, Any]]) -> dict[str, dict[int, int]]:
    """For each metric and attempt, the first step it was logged at."""
    first: dict[str, dict[int, int]] = {}
    for row in rows:
        for name in row["metrics"]:
            of_attempt = first.setdefault(name, {})
            of_attempt[row["attempt"]] = min(
                row["step"] or 0, of_attempt.get(row["attempt"], row["step"] or 0)
            )
    return first


def _replaced(name: str, row: dict[str, Any], first: dict[int, int]) -> bool:
    return any(attempt > row["attempt"] and (row["step"] or 0) >= step for attempt, step in first.items())
