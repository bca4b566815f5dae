"""The page of a run of a million logged steps: how long it takes, how large it and its process get."""

from __future__ import annotations

import json
import math
import random
import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

STEPS = 1_000_000
# Where a second attempt goes back to, as shares of all steps.
_KILLED, _RESUMED = 0.52, 0.5
_BEGAN = 1_700_000_000.0
_SECONDS_A_STEP = 0.01


def generate(folder: Path, steps: int = STEPS) -> Path:
    """A run that logged every step, was killed half-way, and was watched once a second."""
    folder.mkdir(parents=True, exist_ok=True)
    seconds = steps * _SECONDS_A_STEP
    middle = _BEGAN + seconds / 2
    record = {
        "run_id": "long",
        "status": "finished",
        "metrics": {"accuracy": 0.97, "val_loss": 0.1, "global_step": steps},
        "started": _BEGAN,
        "ended": _BEGAN + seconds,
        "attempts": [
            {"number": 1, "start": _BEGAN, "end": middle, "first_step": 0, "cause": "killed"},
            {"number": 2, "start": middle, "end": _BEGAN + seconds, "first_step": int(steps * _RESUMED)},
        ],
    }
    (folder / "run.json").write_text(json.dumps(record))
    _write(folder / "metrics.jsonl", _rows(steps))
    _write(folder / "gpu.jsonl", _samples(int(seconds), steps))
    return folder


def measure(folder: Path) -> dict[str, float]:
    """Build the page in this process, from the import on."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began, busy = time.perf_counter(), time.process_time()
    from nimble_lightning.report import build

    page = build(folder)
    return {
        "seconds": time.perf_counter() - began,
        "cpu_seconds": time.process_time() - busy,
        "megabytes": page.stat().st_size / 1e6,
        "memory_mib": (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024,
    }


def _rows(steps: int) -> Iterator[dict[str, Any]]:
    chance = random.Random(0)
    for attempt, first, last in ((1, 1, int(steps * _KILLED)), (2, int(steps * _RESUMED) + 1, steps)):
        for step in range(first, last + 1):
            loss = 2 * math.exp(-step / steps * 5) + chance.random() / 10
            metrics = {
                "train_loss": round(loss, 7),
                "lr": 1e-3 * (1 - step / steps),
                "grad_norm": chance.random(),
            }
            when = round(_BEGAN + step * _SECONDS_A_STEP, 3)
            yield {"step": step, "epoch": step // 1000, "time": when, "attempt": attempt, "metrics": metrics}


def _samples(seconds: int, steps: int) -> Iterator[dict[str, Any]]:
    chance = random.Random(1)
    for second in range(seconds):
        device = {
            "index": 0,
            "uuid": "GPU-1",
            "utilization": 90 + 10 * chance.random(),
            "memory_used": 60e9,
            "memory_total": 80e9,
            "power": 300 + 50 * chance.random(),
        }
        step = int(second / seconds * steps)
        yield {
            "time": _BEGAN + second,
            "attempt": 1,
            "rank": 0,
            "step": step,
            "devices": [device],
            "host": {},
        }


def _write(path: Path, rows: Iterator[dict[str, Any]]) -> None:
    with path.open("w") as file:
        file.writelines(json.dumps(row, separators=(",", ":")) + "\n" for row in rows)


if __name__ == "__main__":
    print(json.dumps(measure(Path(sys.argv[1]))))
