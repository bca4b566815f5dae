"""How a source is to be cut into batches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from nimble_lightning.errors import RequestError


@dataclass(frozen=True)
class Options:
    """What every kind of loader is told.

    Args:
        batch_size: samples of one batch on one rank.
        seed: together with the epoch decides the order and every random draw made while data is read.
        shuffle: a new order every epoch; without it a set too small for the ranks is shown to all of them.
        rank: which share of each global batch to take.
        world_size: among how many ranks a global batch is shared.
        num_workers: processes that read ahead; they change the speed, never the batches.
        collate: turns a list of samples into a batch.
        pin_memory: put batches into page-locked memory, where there is a GPU.
        drop_last: leave out a last global batch that is not full.
    """

    batch_size: int
    seed: int = 0
    shuffle: bool = False
    rank: int = 0
    world_size: int = 1
    num_workers: int = 0
    collate: Callable[[list[Any]], Any] | None = None
    pin_memory: bool = False
    drop_last: bool = False

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise RequestError(f"the batch size is {self.batch_size}; it must be 1 or more")
        if self.num_workers < 0:
            raise RequestError(f"the number of loader workers is {self.num_workers}; it must be 0 or more")
        if not 0 <= self.rank < self.world_size:
            raise RequestError(f"rank {self.rank} is not one of {self.world_size} ranks, counted from 0")
