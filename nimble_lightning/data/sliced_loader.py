"""Tensors and arrays in memory: a batch is a slice, nothing is collated."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch.utils.data import Subset, TensorDataset

from nimble_lightning.data.indexed_loader import SizedLoader
from nimble_lightning.data.loader import Options, Position
from nimble_lightning.data.sample_order import permutation
from nimble_lightning.errors import TrainerError

Columns = torch.Tensor | tuple[torch.Tensor, ...] | list[torch.Tensor] | dict[Any, torch.Tensor]


class SlicedLoader(SizedLoader):
    """Batches cut from columns of equal length, in the container the columns came in.

    Args:
        columns: a tensor, or a tuple, list or dict of them.
        options: how to cut.
        rows: which rows of the columns are the samples; all, if not given.
    """

    def __init__(self, columns: Columns, options: Options, rows: torch.Tensor | None = None) -> None:
        super().__init__(options, common_length(columns) if rows is None else len(rows))
        self._columns = columns
        self._rows = rows
        self._pin = options.pin_memory and torch.cuda.is_available()

    def _read(self, start: Position) -> Iterator[tuple[Position, Any]]:
        columns, order = self._columns, self._order(start.epoch)
        for begin, end, mark in self._shares(start):
            batch = _slice(columns, begin, end) if order is None else take(columns, order[begin:end])
            yield mark, _each(batch, torch.Tensor.pin_memory) if self._pin else batch

    def _order(self, epoch: int) -> torch.Tensor | None:
        if not self.options.shuffle:
            return self._rows
        order = permutation(self.options.seed, epoch, self._size)
        return order if self._rows is None else self._rows[order]


class Rows:
    """Columns as a dataset of samples, for a collate function of the user's."""

    def __init__(self, columns: Columns, rows: torch.Tensor | None = None) -> None:
        self._columns = columns
        self._rows = range(common_length(columns)) if rows is None else rows.tolist()

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Any:
        row = self._rows[index]
        return _each(self._columns, lambda column: column[row])


def as_columns(source: Any) -> tuple[Columns, torch.Tensor | None] | None:
    """The columns and rows of something held in memory, or None if it is something else.

    A list of tensors is taken for columns if there are no more of them than rows in each; else it is a list
    of samples.
    """
    if isinstance(source, Subset):
        inner = as_columns(source.dataset)
        if inner is None or not isinstance(source.dataset, (TensorDataset, Subset)):
            return None
        rows = torch.as_tensor(source.indices, dtype=torch.int64)
        return inner[0], rows if inner[1] is None else inner[1][rows]
    if isinstance(source, TensorDataset):
        # As torch's own loader gives them: a list.
        return list(source.tensors), None
    if isinstance(source, (torch.Tensor, np.ndarray)):
        return _tensor("the array", source), None
    if isinstance(source, dict):
        return {name: _tensor(f"column {name!r}", column) for name, column in source.items()}, None
    if isinstance(source, (tuple, list)) and source and all(map(_is_array, source)):
        if isinstance(source, list) and len(source) > min(map(len, source)):
            return None
        columns = [_tensor(f"column {number}", column) for number, column in enumerate(source)]
        return columns if isinstance(source, list) else tuple(columns), None
    return None


def common_length(columns: Columns) -> int:
    """The number of rows, which has to be the same in every column."""
    if isinstance(columns, torch.Tensor):
        return len(columns)
    named = columns.items() if isinstance(columns, dict) else enumerate(columns)
    lengths = {name: len(column) for name, column in named}
    if len(set(lengths.values())) != 1:
        found = ", ".join(f"{name}: {length}" for name, length in lengths.items()) or "no columns at all"
        raise TrainerError(f"the columns of a dataset must be equally long, but their lengths are {found}")
    return next(iter(lengths.values()))


def take(columns: Columns, index: torch.Tensor) -> Columns:
    """The rows of all columns at `index`."""
    # index_select is twice as fast as indexing by a tensor.
    return _each(columns, lambda column: column.index_select(0, index))


def _slice(columns: Columns, begin: int, end: int) -> Columns:
    return _each(columns, lambda column: column[begin:end])


def _each(columns: Columns, do: Callable[[torch.Tensor], torch.Tensor]) -> Columns:
    if isinstance(columns, tuple):
        return tuple([do(column) for column in columns])
    if isinstance(columns, list):
        return [do(column) for column in columns]
    if isinstance(columns, dict):
        return {name: do(column) for name, column in columns.items()}
    return do(columns)


def _is_array(value: Any) -> bool:
    return isinstance(value, (torch.Tensor, np.ndarray)) and value.ndim > 0


def _tensor(name: str, value: Any) -> torch.Tensor:
    if not _is_array(value):
        raise TrainerError(
            f"{name} of the dataset is a {type(value).__name__}, not a tensor or an array of rows. "
            "Use tensors and arrays only, or a Dataset whose samples may be anything."
        )
    if isinstance(value, torch.Tensor):
        return value
    if value.dtype.kind not in "biufc":
        raise TrainerError(f"{name} of the dataset is an array of {value.dtype}; tensors hold numbers only")
    # torch shares the memory of an array, and warns if it may not write to it.
    return torch.from_numpy(np.ascontiguousarray(value) if value.flags.writeable else value.copy())
