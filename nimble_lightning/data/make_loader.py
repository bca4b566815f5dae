"""The one place that decides which loader fits which data."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from torch.utils.data import DataLoader, IterableDataset

from nimble_lightning.data.indexed_loader import IndexedLoader
from nimble_lightning.data.loader import Loader, Options
from nimble_lightning.data.sliced_loader import Rows, SlicedLoader, as_columns
from nimble_lightning.data.source import is_hugging_face
from nimble_lightning.data.stream_loader import StreamLoader
from nimble_lightning.data.user_dataloader import BatchesLoader, from_dataloader
from nimble_lightning.errors import TrainerError

_USABLE = (
    "Usable are tensors or arrays (alone, or equally long in a tuple, list or dict), a Dataset, an iterable "
    "dataset, a Hugging Face dataset, a function that returns an iterator, and a DataLoader."
)


def make_loader(
    source: Any,
    *,
    batch_size: int,
    seed: int = 0,
    shuffle: bool,
    rank: int = 0,
    world_size: int = 1,
    num_workers: int = 0,
    collate: Callable[[list[Any]], Any] | None = None,
    pin_memory: bool = False,
    drop_last: bool = False,
    lengths: Sequence[int] | None = None,
) -> Loader:
    """A loader that knows its position, for any data a trainer may have.

    Args:
        source: tensors or arrays, a dataset, a stream, or a loader made by the user, whose own settings then
            hold.
        shuffle: True says training, False says evaluation; what else it means for a source, its loader tells.

    The other arguments are those of `Options`.

    Raises:
        TrainerError: the data cannot be used.
        RequestError: it cannot be used with so many ranks, or such a batch size.
    """
    options = Options(
        batch_size, seed, shuffle, rank, world_size, num_workers, collate, pin_memory, drop_last, lengths
    )
    if isinstance(source, Loader):
        return source
    _refuse(source)
    loader = _choose(source, options)
    loader.source = source
    return loader


def _choose(source: Any, options: Options) -> Loader:
    if isinstance(source, DataLoader):
        return from_dataloader(source, options)
    if (found := as_columns(source)) is not None:
        columns, rows = found
        if options.collate is None:
            return SlicedLoader(columns, options, rows)
        return IndexedLoader(Rows(columns, rows), options)
    if isinstance(source, IterableDataset) or is_hugging_face(source, "IterableDataset"):
        return StreamLoader(source, options)
    if hasattr(source, "__getitem__") and hasattr(source, "__len__"):
        return IndexedLoader(source, options)
    if isinstance(source, Iterable):
        ready = hasattr(source, "batch_size") or hasattr(source, "batch_sampler")
        return BatchesLoader(source, options) if ready else StreamLoader(source, options)
    if callable(source):
        return StreamLoader(source, options)
    raise TrainerError(f"a {type(source).__name__} cannot be used as data. {_USABLE}")


def _refuse(source: Any) -> None:
    kind = type(source).__name__
    if source is None or isinstance(source, (int, float, str, bytes, set)):
        raise TrainerError(f"{source!r:.60} cannot be used as data. {_USABLE}")
    if isinstance(source, type):
        raise TrainerError(
            f"{source.__name__} is a class; give an instance of it, {source.__name__}(...), as data"
        )
    if isinstance(source, Iterator):
        raise TrainerError(
            f"a {kind} can be read only once, but every epoch and every resume reads anew. "
            "Give the function that makes it, or something with __iter__."
        )
    if is_hugging_face(source, "DatasetDict") or is_hugging_face(source, "IterableDatasetDict"):
        raise TrainerError(f"a {kind} holds several datasets; choose one of {', '.join(map(repr, source))}")
    if type(source).__module__.startswith("pandas"):
        raise TrainerError(f"a pandas {kind} is indexed by column; use datasets.Dataset.from_pandas(...)")
