"""The first samples of any data, as data of the same kind."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from typing import Any

from torch.utils.data import DataLoader, IterableDataset, Subset


def cut(data: Any, samples: int) -> Any | None:
    """The first so many samples; None where that cannot be told from outside."""
    if hasattr(data, "take") and hasattr(data, "with_format"):
        return data.take(samples)
    if hasattr(data, "select") and hasattr(data, "with_format"):
        return data.select(range(min(samples, len(data))))
    if isinstance(data, Mapping):
        return type(data)({name: column[:samples] for name, column in data.items()})  # type: ignore[call-arg]
    if isinstance(data, tuple | list) and data and all(hasattr(column, "shape") for column in data):
        return type(data)(column[:samples] for column in data)
    if hasattr(data, "shape") or isinstance(data, list | tuple):
        return data[:samples]
    if isinstance(data, DataLoader):
        return _cut_loader(data, samples)
    if isinstance(data, IterableDataset):
        return _First(data, samples)
    if hasattr(data, "__getitem__") and hasattr(data, "__len__"):
        return Subset(data, range(min(samples, len(data))))
    return None


def _cut_loader(loader: DataLoader[Any], samples: int) -> DataLoader[Any] | None:
    """A loader with a sampler of its own decides itself what it visits."""
    if loader.batch_size is None or isinstance(loader.dataset, IterableDataset):
        return None
    part: Any = cut(loader.dataset, samples)
    return DataLoader(part, batch_size=loader.batch_size, collate_fn=loader.collate_fn)


class _First(IterableDataset[Any]):
    def __init__(self, data: Any, samples: int) -> None:
        self._data = data
        self._samples = samples

    def __iter__(self) -> Any:
        return islice(iter(self._data), self._samples)
