"""What the loggers that write one file into the run's folder have in common."""

from __future__ import annotations

import time
from abc import abstractmethod
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers.logger import Logger
from lightning_utilities.core.rank_zero import rank_zero_only
from typing_extensions import override

from nimble_lightning.loggers._append import AppendOnly
from nimble_lightning.loggers._values import to_floats


class LocalLogger(Logger):
    """Turns what Lightning logs into rows; a subclass says how a row is written.

    The file is opened at the first row, so a logger that never logs leaves nothing behind.
    """

    def __init__(self, save_dir: str | Path, filename: str, attempt: int | None) -> None:
        super().__init__()
        self._path = Path(save_dir) / filename
        self._attempt = attempt
        self._epoch: int | None = None
        self._file: AppendOnly | None = None

    # The run's folder already is this run's own: with name and version empty, no folder is made inside it.
    @property
    @override
    def name(self) -> str:
        return ""

    @property
    @override
    def version(self) -> str:
        return ""

    @property
    @override
    def save_dir(self) -> str:
        return str(self._path.parent)

    @property
    @override
    def log_dir(self) -> str:
        return self.save_dir

    @override
    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        values = to_floats(metrics)
        # Lightning sends the epoch along as if it were a metric, but not with every call.
        if (epoch := values.pop("epoch", None)) is not None:
            self._epoch = int(epoch)
        if not values:
            return
        if self._file is None:
            self._file = self._open()
        now = round(time.time(), 3)
        self._write(step, self._epoch, now, values)

    @override
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Nothing: the configuration has a file of its own in the run's folder."""

    @override
    def finalize(self, status: str) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_file": None}

    def _open(self) -> AppendOnly:
        if self._attempt is None:
            self._attempt = self._last_attempt() + 1
        return AppendOnly(self._path)

    @abstractmethod
    def _last_attempt(self) -> int:
        """The number of the last attempt the file knows, 0 for none."""

    @abstractmethod
    def _write(self, step: int | None, epoch: int | None, now: float, values: dict[str, float]) -> None:
        """Append a row."""
