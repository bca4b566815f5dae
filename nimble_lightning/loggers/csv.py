"""Metrics as a table for spreadsheets and pandas, kept across all attempts of a run."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from typing_extensions import override

from nimble_lightning.loggers._local import AppendOnly, LocalLogger
from nimble_lightning.run_folder import METRICS_CSV

_FIXED = ["step", "epoch", "time", "attempt"]


class CSVLogger(LocalLogger):
    """Appends to `metrics.csv`: step, epoch, time, attempt, then a column for each metric.

    Rows are never taken away. A metric that turns up for the first time adds a column at the right, for
    which the file is written anew beside the old one and put in its place at once.

    Args:
        save_dir: The run's folder.
        attempt: The number of this attempt; one more than the last in the file unless given.

    Example::

        L.Trainer(logger=CSVLogger("outputs/mine"))
    """

    def __init__(self, save_dir: str | Path, attempt: int | None = None) -> None:
        super().__init__(save_dir, METRICS_CSV, attempt)
        self._columns: list[str] = []

    @override
    def _last_attempt(self) -> int:
        rows = _rows(self._path)
        place = _FIXED.index("attempt")
        return max((int(row[place]) for row in rows[1:] if len(row) == len(rows[0])), default=0)

    @override
    def _open(self) -> AppendOnly:
        file = super()._open()
        rows = _rows(self._path)
        self._columns = rows[0] if rows else []
        return file

    @override
    def _write(self, step: int | None, epoch: int | None, now: float, values: dict[str, float]) -> None:
        if new := [name for name in values if name not in self._columns]:
            self._add_columns(new)
        row: dict[str, Any] = {"step": step, "epoch": epoch, "time": now, "attempt": self._attempt, **values}
        assert self._file is not None
        self._file.write(_line(row.get(column, "") for column in self._columns))

    def _add_columns(self, new: list[str]) -> None:
        self._columns = [*(self._columns or _FIXED), *new]
        temporary = self._path.with_name(f".{self._path.name}.tmp-{os.getpid()}")
        with temporary.open("w", encoding="utf-8", newline="") as file:
            file.write(_line(self._columns) + "\n")
            for row in _rows(self._path)[1:]:
                file.write(_line(row + [""] * (len(self._columns) - len(row))) + "\n")
        os.replace(temporary, self._path)
        if self._file is not None:
            self._file.close()
        self._file = AppendOnly(self._path)


def _rows(path: Path) -> list[list[str]]:
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def _line(cells: Iterable[Any]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(["" if cell is None else cell for cell in cells])
    return text.getvalue()
