"""Data read from front to back: iterable datasets, functions that make an iterator, Hugging Face streams."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch.utils.data import DataLoader, IterableDataset, default_collate
from torch.utils.data._utils import worker

from nimble_lightning.data.fetch import as_it_is, collate_rows, shut_down
from nimble_lightning.data.loader import Loader, Options, Position
from nimble_lightning.data.placed_stream import PlacedSource, PlacedStream, StreamOrder
from nimble_lightning.data.random_generators import Generators
from nimble_lightning.data.rng import seeded
from nimble_lightning.data.sample_order import SamplePlan
from nimble_lightning.data.sequential_source import SequentialSource, rounds
from nimble_lightning.data.source import is_hugging_face
from nimble_lightning.errors import NimbleError, RequestError


class StreamLoader(Loader):
    """Batches of a stream, in the stream's own order.

    Every rank reads the whole stream and keeps its share of each global batch, so all ranks have equally many
    batches whatever the stream holds. With workers one process reads ahead: several would each have to read
    everything, or would change the order. A stream that says its place goes on there after a resume; others
    are read again up to it.
    """

    def __init__(self, source: Any, options: Options) -> None:
        super().__init__(options)
        self._reader = StreamReader(source, options)
        self._running: Iterator[Portion] | None = None

    def close(self) -> None:
        super().close()
        shut_down(self._running)

    def _read(self, start: Position) -> Iterator[tuple[Position, Any]]:
        self._reader.start = start
        self._running = self._portions()
        for mark, batch, replicated in self._running:
            if isinstance(batch, NimbleError):
                shut_down(self._running)
                raise batch
            self.replicated = replicated or self.replicated
            yield mark, batch

    def _check(self, state: dict[str, Any]) -> None:
        super()._check(state)
        place = state.get("place")
        if place is not None and isinstance(self._reader.source, PlacedStream):
            self._reader.source.require(place["source"])

    def _portions(self) -> Iterator[Portion]:
        if self.options.num_workers == 0:
            return iter(self._reader)
        return iter(
            DataLoader(
                self._reader,
                batch_size=None,
                collate_fn=as_it_is,
                num_workers=1,
                pin_memory=self.options.pin_memory and torch.cuda.is_available(),
                generator=torch.Generator(),
            )
        )


class Portion(NamedTuple):
    """This rank's share of a global batch, the position after it, and whether every rank has all samples."""

    mark: Position
    batch: Any
    replicated: bool


class StreamReader(IterableDataset[Portion]):
    """Reads a stream from `start` on, here or in a worker process."""

    start = Position()

    def __init__(self, source: Any, options: Options) -> None:
        self.source = source
        self._seed = options.seed
        self._shuffle = options.shuffle
        self._plan = SamplePlan(options.batch_size, options.rank, options.world_size, options.drop_last)
        self._collate = options.collate or _default_collate(source)

    def __iter__(self) -> Iterator[Portion]:
        # There is one reader. A dataset that saw a worker might split itself, or shuffle differently, as it
        # would not do without.
        worker._worker_info = None
        try:
            yield from self._portions()
        except NimbleError as error:
            # Raised by the loader: a worker process would wrap it in the text of a traceback.
            yield Portion(self.start, error, False)

    def _portions(self) -> Iterator[Portion]:
        epoch, begin, batches, known = self.start
        replicated = False
        own = Generators(self._collate)
        tape = self._tape(epoch, begin, known)
        for samples, before, place in rounds(tape, self._plan):
            if before == 0 and len(samples) < self._plan.world_size:
                refuse_too_few(len(samples), self._plan.world_size, self._shuffle)
                replicated = True
            batches += 1
            first, end = self._plan.share(len(samples))
            keys = ("fetch", self._seed, epoch, before + first)
            with seeded(*keys), own.private(*keys):
                batch = self._collate(samples[first:end])
            yield Portion(Position(epoch, before + len(samples), batches, place), batch, replicated)

    def _tape(self, epoch: int, begin: int, known: dict[str, Any] | None) -> SequentialSource | PlacedSource:
        if isinstance(self.source, PlacedStream):
            return PlacedSource(self.source, StreamOrder(self._seed, epoch, self._shuffle), begin, known)
        return SequentialSource(self.source, self._seed, epoch, begin, known)


def refuse_too_few(samples: int, ranks: int, training: bool) -> None:
    """An evaluation shows them to every rank instead."""
    if training:
        raise RequestError(f"{samples} training samples cannot be shared by {ranks} ranks; use fewer ranks")


def _default_collate(source: Any) -> Callable[[list[Any]], Any]:
    return collate_rows if is_hugging_face(source, "IterableDataset") else default_collate
