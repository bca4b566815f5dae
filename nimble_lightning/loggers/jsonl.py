"""Metrics as one JSON line a logged step, kept across all attempts of a run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from typing_extensions import override

from nimble_lightning.loggers._local import LocalLogger, plain
from nimble_lightning.loggers.history import lines
from nimble_lightning.run_folder import METRICS_JSONL


class JSONLLogger(LocalLogger):
    """Appends `{"step", "epoch", "time", "attempt", "metrics"}` to `metrics.jsonl`, one line a logged step.

    Nothing is ever taken back. After a resume the steps in between are there twice, once of each attempt:
    `read_metrics` gives the history that counts.

    Args:
        save_dir: The run's folder.
        attempt: The number of this attempt; one more than the last in the file unless given.

    Example::

        L.Trainer(logger=JSONLLogger("outputs/mine"))
    """

    def __init__(self, save_dir: str | Path, attempt: int | None = None) -> None:
        super().__init__(save_dir, METRICS_JSONL, attempt)

    @override
    def _last_attempt(self) -> int:
        return max((line["attempt"] for line in lines(self._path)), default=0)

    @override
    def _write(self, step: int | None, epoch: int | None, now: float, values: dict[str, float]) -> None:
        row: dict[str, Any] = {"step": step, "epoch": epoch, "time": now, "attempt": self._attempt}
        row["metrics"] = {name: plain(value) for name, value in values.items()}
        assert self._file is not None
        self._file.write(json.dumps(row, allow_nan=False, separators=(",", ":")))
