"""What loggers have in common: figures as plain numbers, and one file in the run's folder that only grows."""

from __future__ import annotations

import math
import os
import time
from abc import abstractmethod
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.loggers.logger import Logger
from lightning_utilities.core.rank_zero import rank_zero_only
from torch import Tensor
from typing_extensions import override

from nimble_lightning.ops.lightning_packages import serves_both


@serves_both
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


class AppendOnly:
    """Each line is one write to the end of the file: after a kill only the last one can be torn."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        self._mend()

    def write(self, line: str) -> None:
        """Append a line, given without its newline."""
        os.write(self._fd, f"{line}\n".encode())

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._fd)

    def _mend(self) -> None:
        # A line torn by a full disk or a power cut must not swallow the next one.
        size = os.fstat(self._fd).st_size
        if size and os.pread(self._fd, 1, size - 1) != b"\n":
            os.write(self._fd, b"\n")


def to_floats(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Numbers and one-element tensors as floats, waiting for the device once, however many there are."""
    on_device = [name for name, value in metrics.items() if isinstance(value, Tensor) and not value.is_cpu]
    fetched: dict[str, float] = {}
    if on_device:
        stacked = torch.stack([metrics[name].detach().reshape(()).float() for name in on_device])
        fetched = dict(zip(on_device, stacked.tolist(), strict=True))
    return {name: fetched[name] if name in fetched else float(value) for name, value in metrics.items()}


def plain(value: float) -> float | int | str:
    """The value as JSON has it: whole numbers short, and NaN and infinities, which JSON lacks, as words."""
    if not math.isfinite(value):
        return str(value)
    return int(value) if value.is_integer() and abs(value) < 1e15 else value
