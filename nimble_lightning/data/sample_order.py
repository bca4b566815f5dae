"""Which sample goes where: pure arithmetic, the same on every rank.

An epoch is one order of all samples. Each step takes the next `batch_size * world_size` of them, one
contiguous share a rank. Nothing is padded and nothing left out: the last global batch is shared evenly, and
every rank has as many batches as any other. A position is the number of samples all ranks have consumed, so
it means the same for any number of ranks and any batch size.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch

from nimble_lightning.data.rng import stable_hash


class Share(NamedTuple):
    """One rank's part `[begin, end)` of a global batch, and the number of samples consumed after it."""

    begin: int
    end: int
    after: int


def permutation(seed: int, epoch: int, length: int) -> torch.Tensor:
    """The order of an epoch; it depends on nothing else and draws from nobody's random state."""
    generator = torch.Generator().manual_seed(stable_hash("order", seed, epoch, length))
    return torch.randperm(length, generator=generator)


def even(size: int, rank: int, world_size: int) -> tuple[int, int]:
    """Where a rank's share of `size` begins and ends; the sizes of the shares differ by at most one."""
    least, extra = divmod(size, world_size)
    begin = rank * least + min(rank, extra)
    return begin, begin + least + (rank < extra)


@dataclass(frozen=True)
class SamplePlan:
    """How any number of samples is cut into global batches, and those into shares."""

    batch_size: int
    rank: int = 0
    world_size: int = 1
    drop_last: bool = False

    @property
    def whole(self) -> int:
        """Samples of a full global batch."""
        return self.batch_size * self.world_size

    def cut(self, samples: int) -> tuple[int, list[int]]:
        """The number of full global batches, and the sizes of those that follow them.

        A rest with fewer samples than ranks is joined with the batch before it and the two are halved. Where
        that is not possible because nothing is before it, all ranks take all of it, which gives the same
        gradient.
        """
        full, rest = divmod(samples, self.whole)
        if rest == 0 or self.drop_last:
            return full, []
        if rest >= self.world_size:
            return full, [rest]
        if full == 0:
            return 0, [min(self.batch_size, rest - at) for at in range(0, rest, self.batch_size)]
        both = self.whole + rest
        if both < 2 * self.world_size:
            return full - 1, [both]
        return full - 1, [both - both // 2, both // 2]

    def count(self, samples: int) -> int:
        """How many batches each rank makes of that many samples."""
        full, tail = self.cut(samples)
        return full + len(tail)

    def share(self, size: int) -> tuple[int, int]:
        """This rank's part of a global batch of `size`."""
        return even(size, self.rank, self.world_size) if size >= self.world_size else (0, size)

    def shares(self, length: int, start: int = 0) -> Iterator[Share]:
        """This rank's parts of what is left of an epoch."""
        full, tail = self.cut(length - start)
        own, mine = self.batch_size, self.rank * self.batch_size
        for base in range(start, start + full * self.whole, self.whole):
            yield Share(base + mine, base + mine + own, base + self.whole)
        base = start + full * self.whole
        for size in tail:
            begin, end = self.share(size)
            yield Share(base + begin, base + end, base + size)
            base += size
