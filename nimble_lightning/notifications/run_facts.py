"""What a run's folder tells about it: figures for messages to people. Whatever is missing is left out."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeGuard

from nimble_lightning.ops import plain_files
from nimble_lightning.run_folder import LOG, METRICS_JSONL, USAGE

_TAIL_BYTES = 64 * 1024
_LOG_LINES = 15
_LARGEST = 1e300
_NOT_FOR_PEOPLE = ("epoch", "step", "lr")


def read(folder: Path, name: str) -> dict[str, Any]:
    """The content of a JSON file; empty where there is none, or none that is whole."""
    content = plain_files.read_json(folder, name)
    return content if isinstance(content, dict) else {}


def last_metrics(folder: Path) -> tuple[dict[str, float], int | None]:
    """The newest figure of each metric among the last lines of metrics.jsonl, and the step of the last."""
    found: dict[str, float] = {}
    step = None
    for row in _rows(_tail(folder, METRICS_JSONL)):
        found.update({k: v for k, v in row["metrics"].items() if isinstance(v, int | float)})
        step = row.get("step", step)
    return found, step


def history(folder: Path, name: str) -> list[tuple[float, float]]:
    """Step and value of a metric, as far as metrics.jsonl tells."""
    try:
        with plain_files.open_inside(folder, METRICS_JSONL) as file:
            rows = _rows(plain_files.lines(file))
            pairs = [(row.get("step"), row["metrics"].get(name)) for row in rows]
    except OSError:
        return []
    return [(float(x), float(y)) for x, y in pairs if _is_number(x) and _is_number(y)]


def last_words(folder: Path) -> str:
    """The last lines of log.txt."""
    return "\n".join([line.rstrip() for line in _tail(folder, LOG) if line.strip()][-_LOG_LINES:])


def telling(metrics: Mapping[str, Any], monitor: str | None = None) -> str | None:
    """The metric a person would ask for: the monitored one, else of the evaluation, else the loss."""
    names = [
        name
        for name in metrics
        if name not in _NOT_FOR_PEOPLE and not name.endswith(("_step", "_epoch", "_runtime", "_per_second"))
    ]
    names.sort(key=lambda n: (n != monitor, n != "val_loss", n.startswith("train_") or n == "global_step"))
    return next(iter(names), None)


def usage(folder: Path) -> tuple[str | None, str | None]:
    """Energy and cost so far, as people read them."""
    account = read(folder, USAGE)
    energy = account.get("energy_kwh")
    kwh = _figure(energy.get("total") if isinstance(energy, dict) else energy)
    cost = account.get("cost")
    amount = _figure(cost.get("amount", cost.get("value")) if isinstance(cost, dict) else cost)
    currency = cost.get("currency", "") if isinstance(cost, dict) else ""
    return (
        None if kwh is None else f"{kwh:.3g} kWh",
        None if amount is None else f"{amount:.2f} {currency}".strip(),
    )


def _figure(value: Any) -> float | None:
    value = value.get("value") if isinstance(value, dict) else value
    return float(value) if _is_number(value) else None


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _LARGEST


def _tail(folder: Path, name: str) -> list[str]:
    try:
        with plain_files.open_inside(folder, name) as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _TAIL_BYTES))
            return file.read().decode(errors="replace").splitlines()
    except OSError:
        return []


def _rows(lines: Any) -> Iterator[dict[str, Any]]:
    for line in lines:
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(row, dict) and isinstance(row.get("metrics"), dict):
            yield row
