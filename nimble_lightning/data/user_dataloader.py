"""Loaders that users bring along: taken apart where that is possible, else read batch by batch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from torch.utils.data import (
    DataLoader,
    DistributedSampler,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    TensorDataset,
    default_collate,
)

from nimble_lightning.data.fetch import Fetch
from nimble_lightning.data.indexed_loader import IndexedLoader
from nimble_lightning.data.loader import Loader, Options, Position
from nimble_lightning.data.sampled_loader import SampledLoader
from nimble_lightning.data.sequential_source import SequentialSource
from nimble_lightning.data.sliced_loader import SlicedLoader
from nimble_lightning.data.stream_loader import StreamLoader


def from_dataloader(ready: DataLoader[Any], options: Options) -> Loader:
    """The same dataset, batch size, collate function, workers and order, in a loader that knows its position.

    A random sampler of torch's own is replaced by our order; any other is kept. A distributed one is replaced
    too, for ranks are given their shares here.
    """
    if ready.batch_size is None and (
        ready.batch_sampler is None or isinstance(ready.dataset, IterableDataset)
    ):
        return BatchesLoader(ready, options)
    options = replace(
        options,
        batch_size=ready.batch_size or 1,
        num_workers=ready.num_workers,
        collate=ready.collate_fn,
        pin_memory=ready.pin_memory or options.pin_memory,
        drop_last=bool(ready.drop_last),
    )
    if isinstance(ready.dataset, IterableDataset):
        return StreamLoader(ready.dataset, options)
    more = _more(ready)
    if ready.batch_size is None or not _is_plain(ready.sampler):
        lists = ready.batch_size is None
        fetch = Fetch(ready.dataset, ready.collate_fn, options.seed)
        return SampledLoader(
            fetch, ready.batch_sampler if lists else ready.sampler, options, more, lists=lists
        )
    options = replace(options, shuffle=options.shuffle and _shuffles(ready.sampler))
    if type(ready.dataset) is TensorDataset and ready.collate_fn is default_collate:
        return SlicedLoader(list(ready.dataset.tensors), options)
    return IndexedLoader(ready.dataset, options, more)


class BatchesLoader(Loader):
    """Anything that yields ready batches; here one of those is what elsewhere is a sample.

    In training each rank takes every `world_size`-th batch, and those left over at the end go to all ranks.
    In evaluation every rank sees all of them, since they cannot be divided. After a resume the batches
    consumed are read again and thrown away.
    """

    def __init__(self, source: Any, options: Options) -> None:
        super().__init__(options)
        self._source = source
        self._ranks = options.world_size if options.shuffle else 1
        self.replicated = self._ranks < options.world_size

    def __len__(self) -> int:
        """Batches of this epoch on this rank, if the source tells its length."""
        full, rest = divmod(len(self._source) - self._position.samples, self._ranks)
        return self._position.batches + full + rest

    def _read(self, start: Position) -> Iterator[tuple[Position, Any]]:
        epoch, read, batches, _ = start
        tape = SequentialSource(self._source, self.options.seed, epoch, read)
        group = tape.read(self._ranks)
        while group:
            ahead = tape.read(self._ranks)
            shared = len(group) == self._ranks
            for batch in [group[self.options.rank % self._ranks]] if shared else group:
                read, batches = read + (self._ranks if shared else 1), batches + 1
                last = not ahead and (shared or batch is group[-1])
                yield Position(epoch + 1) if last else Position(epoch, read, batches), batch
            group = ahead


def _is_plain(sampler: Any) -> bool:
    if type(sampler) is RandomSampler:
        return not sampler.replacement and sampler._num_samples is None
    return type(sampler) in (SequentialSampler, DistributedSampler)


def _shuffles(sampler: Any) -> bool:
    return type(sampler) is RandomSampler or bool(getattr(sampler, "shuffle", False))


def _more(ready: DataLoader[Any]) -> dict[str, Any]:
    more = {"timeout": ready.timeout, "worker_init_fn": ready.worker_init_fn}
    if ready.num_workers > 0:
        more["prefetch_factor"] = ready.prefetch_factor
        more["multiprocessing_context"] = ready.multiprocessing_context
    return more
