"""Loaders over a known number of samples, and datasets read by index, Hugging Face's among them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch.utils.data import default_collate

from nimble_lightning.data.fetch import Feed, Fetch, FetchJob
from nimble_lightning.data.lengths import grouped
from nimble_lightning.data.loader import Loader, Options, Position
from nimble_lightning.data.sample_order import SamplePlan, permutation
from nimble_lightning.data.source import is_hugging_face
from nimble_lightning.errors import RequestError, TrainerError


class SizedLoader(Loader):
    """A loader over a known number of samples in a known order."""

    def __init__(self, options: Options, length: int) -> None:
        super().__init__(options, length)
        rank, world_size = options.rank, options.world_size
        if length == 0:
            raise TrainerError("the dataset is empty; a loader needs at least one sample")
        if length < world_size:
            if options.shuffle:
                raise RequestError(
                    f"{length} training samples cannot be shared by {world_size} ranks; use fewer ranks"
                )
            self.replicated, rank, world_size = True, 0, 1
        self.plan = SamplePlan(options.batch_size, rank, world_size, options.drop_last)
        if self.plan.count(length) == 0:
            raise RequestError(
                f"drop_last leaves nothing: {length} samples do not fill a batch of {self.plan.whole}. "
                "Make the batch smaller or turn drop_last off."
            )

    def __len__(self) -> int:
        """Batches of this epoch on this rank, with those consumed before a resume."""
        return self._position.batches + self.plan.count(self._size - self._position.samples)

    @property
    def _size(self) -> int:
        return self._length or 0

    def _settle(self, position: Position) -> Position:
        return position if self.plan.count(self._size - position.samples) else Position(position.epoch + 1)

    def _shares(self, start: Position) -> Iterator[tuple[int, int, Position]]:
        """This rank's share of each batch, with the position after it."""
        epoch, _, batches, _ = start
        last = batches + self.plan.count(self._size - start.samples)
        for begin, end, after in self.plan.shares(self._size, start.samples):
            batches += 1
            yield begin, end, Position(epoch, after, batches) if batches < last else Position(epoch + 1)


class IndexedLoader(SizedLoader):
    """Samples read by index and collated, by worker processes where asked for.

    Args:
        dataset: has `__len__` and `__getitem__`.
        options: how to cut and collate. Without `collate` torch's default is taken; numbers in a Hugging Face
            dataset become tensors, and columns that have no common shape stay lists.
        more: further arguments of the DataLoader underneath.
    """

    def __init__(self, dataset: Any, options: Options, more: dict[str, Any] | None = None) -> None:
        super().__init__(options, len(dataset))
        collate = options.collate
        if collate is None and not is_hugging_face(dataset, "Dataset"):
            collate = default_collate
        self._feed = Feed(Fetch(dataset, collate, options.seed), options, more)

    def _read(self, start: Position) -> Iterator[tuple[Position, Any]]:
        return self._feed.run(self._jobs(start))

    def close(self) -> None:
        super().close()
        self._feed.close()

    def _jobs(self, start: Position) -> Iterator[tuple[Position, FetchJob]]:
        order = self._order(start.epoch)
        for begin, end, mark in self._shares(start):
            yield mark, FetchJob(start.epoch, begin, order[begin:end].tolist())

    def _order(self, epoch: int) -> torch.Tensor:
        options = self.options
        if not options.shuffle:
            return torch.arange(self._size)
        order = permutation(options.seed, epoch, self._size)
        return order if options.lengths is None else grouped(order, options.lengths, self.plan.whole)
