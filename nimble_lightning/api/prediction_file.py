"""Predictions as rows, and rows as a file: .jsonl, .csv or .parquet, whole or not there."""

from __future__ import annotations

import csv
import io
import json
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Protocol, TypeAlias

import numpy as np
from torch import Tensor

from nimble_lightning.checkpoint.file_names import temporary_path
from nimble_lightning.errors import RequestError, TrainerError

Row: TypeAlias = dict[str, Any]

# What `predict` returned where it gave it no name.
COLUMN = "prediction"
# Rows that parquet files keep together.
_GROUP = 10_000


def rows_of(predicted: Any, samples: int) -> list[Row]:
    """What `predict` returned for a batch, as one row a sample.

    Raises:
        TrainerError: There is no telling which part belongs to which sample.
    """
    if isinstance(predicted, Mapping):
        if not predicted:
            raise TrainerError("predict returned an empty dict. Give each column a value for every sample.")
        columns = {str(name): _values(value, samples, f" as {name!r}") for name, value in predicted.items()}
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    values = _values(predicted, samples, "")
    return [value if isinstance(value, dict) else {COLUMN: value} for value in values]


@contextmanager
def prediction_file(path: Path, *, force: bool = False) -> Iterator[Callable[[Sequence[Row]], None]]:
    """Takes rows; the file is there when the block has ended, and as it was when the block was interrupted.

    Args:
        path: Its suffix decides how it is written.
        force: Whether a file that is there is replaced.
    """
    kind = _KINDS.get(path.suffix)
    if kind is None:
        raise RequestError(f"{path} has no suffix of {', '.join(_KINDS)}, which says how it is written.")
    if path.is_dir() or (path.exists() and not force):
        hint = "Choose another name" if path.is_dir() else "Choose another name, or replace it with --force"
        raise RequestError(f"{path} is there already. {hint}.")
    temporary = temporary_path(path)
    try:
        with open(temporary, "wb") as file:
            writer = kind(file)
            yield writer.write
            writer.close()
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise RequestError(f"{path} cannot be written: {error.strerror or error}.") from None
    finally:
        temporary.unlink(missing_ok=True)


class _Writer(Protocol):
    def __init__(self, file: BinaryIO) -> None: ...

    def write(self, rows: Sequence[Row]) -> None: ...

    def close(self) -> None: ...


class _JsonLines:
    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def write(self, rows: Sequence[Row]) -> None:
        for row in rows:
            text = json.dumps(as_json(row), allow_nan=False, ensure_ascii=False)
            self._file.write(f"{text}\n".encode())

    def close(self) -> None:
        """Every row is written by now."""


class _Csv:
    """Lists and dicts are cells of JSON."""

    def __init__(self, file: BinaryIO) -> None:
        self._text = io.TextIOWrapper(file, "utf-8", newline="", write_through=True)
        self._csv = csv.writer(self._text)
        self._columns: list[str] = []

    def write(self, rows: Sequence[Row]) -> None:
        if not self._columns and rows:
            self._columns = list(rows[0])
            self._csv.writerow(self._columns)
        _require_columns(rows, self._columns)
        for row in rows:
            self._csv.writerow([_cell(row[name]) for name in self._columns])

    def close(self) -> None:
        self._text.detach()


class _Parquet:
    """The types of its columns are those of its first rows."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._waiting: list[Row] = []
        self._writer: Any = None

    def write(self, rows: Sequence[Row]) -> None:
        self._waiting.extend(rows)
        if len(self._waiting) >= _GROUP:
            self._flush()

    def close(self) -> None:
        if self._waiting or self._writer is None:
            self._flush()
        self._writer.close()

    def _flush(self) -> None:
        import pyarrow as arrow
        from pyarrow import parquet

        _require_columns(self._waiting, list(self._waiting[0] if self._waiting else ()))
        try:
            if self._writer is None:
                table = arrow.Table.from_pylist(self._waiting)
                self._writer = parquet.ParquetWriter(self._file, table.schema)
            else:
                names = self._writer.schema.names
                _require_columns(self._waiting, names)
                table = arrow.Table.from_pylist(self._waiting, self._writer.schema)
        except arrow.ArrowException as error:
            raise TrainerError(
                f"The predictions are of several types: {error}. Write them as .jsonl."
            ) from None
        self._writer.write_table(table)
        self._waiting = []


_KINDS: dict[str, type[_Writer]] = {".jsonl": _JsonLines, ".csv": _Csv, ".parquet": _Parquet}


def _values(value: Any, samples: int, where: str) -> list[Any]:
    found = f"a {type(value).__name__}"
    if isinstance(value, Tensor | np.ndarray):
        found = f"{found} of shape {tuple(value.shape)}"
        if value.ndim and value.shape[0] == samples:
            value = value.detach() if isinstance(value, Tensor) else value
            return [_plain(entry) for entry in value.tolist()]
    elif isinstance(value, list):
        found = f"{found} of {len(value)}"
        if len(value) == samples:
            return [_plain(entry) for entry in value]
    raise TrainerError(
        f"predict returned {found}{where} for a batch of {samples} samples. Return one row a sample: a "
        f"tensor or list of {samples}, or a dict of such."
    )


def _plain(value: Any) -> Any:
    if isinstance(value, Tensor | np.ndarray):
        value = value.detach() if isinstance(value, Tensor) else value
        return _plain(value.tolist())
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, Mapping):
        return {str(name): _plain(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TrainerError(
        f"predict returned a {type(value).__name__}; expected numbers, text, or lists of them."
    )


def as_json(value: Any) -> Any:
    """NaN and infinities, which JSON lacks, as words."""
    if isinstance(value, dict):
        return {name: as_json(entry) for name, entry in value.items()}
    if isinstance(value, list):
        return [as_json(entry) for entry in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _cell(value: Any) -> Any:
    nested = isinstance(value, list | dict)
    return json.dumps(as_json(value), ensure_ascii=False) if nested else value


def _require_columns(rows: Sequence[Row], columns: Sequence[str]) -> None:
    for row in rows:
        if row.keys() != set(columns):
            raise TrainerError(
                f"predict returned {', '.join(row)} for a sample, and {', '.join(columns)} for the first. "
                "Give every sample the same columns, or write .jsonl."
            )
