"""Loaders over a known number of samples."""

from __future__ import annotations

from collections.abc import Iterator

from nimble_lightning.data.batch_options import Options
from nimble_lightning.data.loader import Loader, Position
from nimble_lightning.data.sample_order import SamplePlan
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
