"""Folders of runs as they are left behind, made by hand so that nothing has to be trained."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

BEGAN = 1_700_000_000.0

JOB = """\
callbacks:
  auto_retry:
    _target_: nimble_lightning.callbacks.AutoRetry
    max_retries: 9
logger:
  jsonl:
    _target_: nimble_lightning.loggers.JSONLLogger
optim:
  _target_: torch.optim.SGD
  lr: 0.5
trainer: /home/me/digits.py:Digits
params:
  lr: 0.001
run_id: first
name: digits
seed: 0
"""


def write(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def rows(path: Path, *rows: dict[str, Any]) -> Path:
    return write(path, "".join(json.dumps(row) + "\n" for row in rows))


def row(step: int, attempt: int = 1, **metrics: Any) -> dict[str, Any]:
    return {"step": step, "epoch": 0, "time": BEGAN + step, "attempt": attempt, "metrics": metrics}


def run(folder: Path, **facts: Any) -> Path:
    """A small finished run."""
    record = {
        "run_id": "first",
        "status": "finished",
        "metrics": {"global_step": 40, "train_loss": 0.3, "accuracy": 0.97, "val_loss": 0.125},
        "started": BEGAN,
        "ended": BEGAN + 90,
        "versions": {"python": "3.11.7"},
        "attempts": [{"number": 1, "start": BEGAN, "end": BEGAN + 90, "first_step": 0, "last_step": 40}],
        **facts,
    }
    write(folder / "run.json", record)
    write(folder / "job.yaml", JOB)
    history = [row(step, train_loss=math.exp(-step / 20), lr=0.001) for step in range(1, 41)]
    rows(folder / "metrics.jsonl", *history, row(40, val_loss=0.125, accuracy=0.97))
    return folder


def retried(folder: Path) -> Path:
    """A run that was killed once, and whose samples of GPU, account and errors are there."""
    attempts = [
        {"number": 1, "start": BEGAN, "end": BEGAN + 40, "first_step": 0, "last_step": 25}
        | {"cause": "killed", "reason": "killed by SIGKILL"},
        {"number": 2, "start": BEGAN + 41, "end": BEGAN + 90, "first_step": 20, "last_step": 40}
        | {"cause": "finished", "reason": ""},
    ]
    run(folder, attempts=attempts)
    device = {"index": 0, "uuid": "GPU-1", "utilization": 90.0, "memory_used": 7e9, "memory_total": 8e9}
    samples = [{"time": BEGAN + second, "devices": [device], "host": {"cpu": 20.0}} for second in range(90)]
    rows(folder / "gpu.jsonl", *samples)
    figure = {"value": 0.5, "kind": "measured", "note": "by the counter"}
    usage = {
        "time": {"step": 60, "data": 20, "lost": 10},
        "energy_kwh": {"total": figure},
        "wall_seconds": 90,
    }
    write(folder / "usage.json", usage | {"cost": {"amount": figure, "currency": "EUR"}})
    error = {
        "type": "ValueError",
        "message": "no",
        "traceback": "Traceback",
        "rank": 0,
        "time": 1,
        "step": 25,
    }
    write(folder / "errors" / "attempt-1.rank-0.json", error)
    event = {"kind": "rollback", "facts": {"step": 30, "reason": "a spike"}, "id": "1", "time": BEGAN}
    write(folder / "outbox" / "events.jsonl", json.dumps(event) + "\n")
    return folder
