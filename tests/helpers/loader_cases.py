"""What several tests of the loaders share."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset, IterableDataset

from nimble_lightning.data import Loader, make_loader

N = 22


class Noisy(Dataset[Any]):
    """Samples that are augmented with every global source of random numbers."""

    def __init__(self, length: int = N) -> None:
        self.length = length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Any:
        if not 0 <= index < self.length:
            raise IndexError(index)
        return index, random.random(), float(np.random.rand()), float(torch.rand(()))


class NoisyStream(IterableDataset[Any]):
    """The same, read from front to back, in an order drawn while reading."""

    def __init__(self, length: int = N) -> None:
        self.length = length
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __iter__(self) -> Iterator[Any]:
        indices = list(range(self.length))
        random.shuffle(indices)
        for index in indices:
            yield index, self.epoch, random.random(), float(np.random.normal()), float(torch.rand(()))


def train(loader: Loader, batches: int | None = None) -> list[Any]:
    """Consume batches as a training loop would, to the end of the epoch or so many of them."""
    seen = []
    for batch in loader:
        seen.append(plain(batch))
        loader.consumed()
        if len(seen) == batches:
            break
    return seen


def plain(value: Any) -> Any:
    """Tensors as lists, so that batches can be compared."""
    if isinstance(value, torch.Tensor):
        return value.tolist()
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value


def resumes_exactly(make: Callable[[], Loader], places: list[int] | None = None) -> None:
    """Stopped before any batch of two epochs and made anew, a loader gives what it would have given."""
    loader = make()
    states, seen = [], []
    for _ in range(2):
        for batch in loader:
            states.append(loader.state_dict())
            seen.append(plain(batch))
            loader.consumed()
    states.append(loader.state_dict())
    assert seen
    for place in range(len(states)) if places is None else places:
        again = make()
        again.load_state_dict(states[place])
        rest = train(again)
        while len(rest) < len(seen) - place:
            rest += train(again)
        assert rest[: len(seen) - place] == seen[place:]


def over_ranks(source: Callable[[], Any], world_size: int, **options: Any) -> list[Loader]:
    """One loader for each rank."""
    return [
        make_loader(
            source(), rank=rank, world_size=world_size, **{"shuffle": True, "batch_size": 4, **options}
        )
        for rank in range(world_size)
    ]


def indices(epochs: list[list[Any]]) -> list[int]:
    """The sample numbers of all batches of all ranks, where samples or first columns are numbers."""
    return [int(index) for batches in epochs for batch in batches for index in first_column(batch)]


def first_column(batch: Any) -> Any:
    if isinstance(batch, dict):
        return next(iter(batch.values()))
    return batch[0] if isinstance(batch[0], list) else batch
