"""Datasets that are read by index, Hugging Face's among them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch.utils.data import default_collate

from nimble_lightning.data.batch_options import Options
from nimble_lightning.data.fetch import Feed, Fetch, FetchJob
from nimble_lightning.data.loader import Position
from nimble_lightning.data.sample_order import permutation
from nimble_lightning.data.sized_loader import SizedLoader
from nimble_lightning.data.source import is_hugging_face


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
        if self.options.shuffle:
            return permutation(self.options.seed, epoch, self._size)
        return torch.arange(self._size)
