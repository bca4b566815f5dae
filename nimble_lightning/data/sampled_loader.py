"""A dataset read in the order of the user's own sampler, or in the batches of their batch sampler."""

from __future__ import annotations

from collections.abc import Iterator, Sized
from itertools import chain
from typing import Any, NamedTuple

from nimble_lightning.data.fetch import Feed, Fetch, FetchJob
from nimble_lightning.data.loader import Loader, Options, Position
from nimble_lightning.data.sample_order import SamplePlan, even
from nimble_lightning.data.sequential_source import SequentialSource, rounds
from nimble_lightning.data.stream_loader import refuse_too_few


class Step(NamedTuple):
    """A global batch: this rank's indices, how many all ranks have, and where in the sampler it lies."""

    indices: list[int]
    samples: int
    before: int
    after: int


class SampledLoader(Loader):
    """The sampler runs alike on every rank, with random numbers of its own; each rank takes its share.

    After a resume the indices of what was consumed are passed over; no data is read for that.

    Args:
        fetch: reads the samples.
        sampler: yields indices, or lists of them if `lists`.
        lists: whether `sampler` is a batch sampler: then each rank takes whole batches of it.
        options: how to cut.
        more: further arguments of the DataLoader underneath.
    """

    def __init__(
        self, fetch: Fetch, sampler: Any, options: Options, more: dict[str, Any], *, lists: bool
    ) -> None:
        super().__init__(options)
        self._sampler = sampler
        self._lists = lists
        self._plan = SamplePlan(options.batch_size, options.rank, options.world_size, options.drop_last)
        self._feed = Feed(fetch, options, more)
        self._counted: tuple[int, int] | None = None

    def __len__(self) -> int:
        """Batches of this epoch on this rank, if the sampler tells its length."""
        left = len(self._sampler) - self._passed(self._position)
        if not self._lists:
            return self._position.batches + self._plan.count(left)
        if self.options.world_size == 1:
            return self._position.batches + left
        if self._counted is None or self._counted[0] != self._position.epoch:
            # How the rest is shared depends on the sizes of the lists, so they have to be looked at.
            steps = sum(1 for _ in self._list_steps(self._tape(self._position)))
            self._counted = self._position.epoch, self._position.batches + steps
        return self._counted[1]

    def _read(self, start: Position) -> Iterator[tuple[Position, Any]]:
        if self._lists and isinstance(self._sampler, Sized):
            # Counting later would run the sampler a second time while it is being read.
            len(self)
        return self._feed.run(self._jobs(start))

    def _go_to(self, position: Position) -> None:
        super()._go_to(position)
        self._counted = None

    def close(self) -> None:
        super().close()
        self._feed.close()

    def _jobs(self, start: Position) -> Iterator[tuple[Position, FetchJob]]:
        epoch, samples, batches, _ = start
        tape = self._tape(start)
        steps = self._list_steps(tape) if self._lists else self._index_steps(tape)
        step = next(steps, None)
        while step is not None:
            if step.before == 0 and step.samples < self.options.world_size:
                refuse_too_few(step.samples, self.options.world_size, self.options.shuffle)
                self.replicated = True
            samples, batches = samples + step.samples, batches + 1
            job = FetchJob(epoch, step.before * self.options.world_size + self.options.rank, step.indices)
            after = step.after
            # Lightning does not ask for more after the last batch, so the end has to be seen with it.
            step = next(steps, None)
            if step is None:
                yield Position(epoch + 1), job
            else:
                yield Position(epoch, samples, batches, {"lists": after} if self._lists else None), job

    def _tape(self, start: Position) -> SequentialSource:
        return SequentialSource(self._sampler, self.options.seed, start.epoch, self._passed(start))

    def _passed(self, position: Position) -> int:
        if not self._lists:
            return position.samples
        return int(position.place["lists"]) if position.place else 0

    def _index_steps(self, tape: SequentialSource) -> Iterator[Step]:
        for indices, before, _ in rounds(tape, self._plan):
            first, end = self._plan.share(len(indices))
            yield Step(indices[first:end], len(indices), before, before + len(indices))

    def _list_steps(self, tape: SequentialSource) -> Iterator[Step]:
        """One list a rank and step; a rest of fewer lists than ranks is shared out by samples."""
        rank, world_size = self.options.rank, self.options.world_size
        held = tape.read(world_size)
        while len(held) == world_size:
            before = tape.at - world_size
            ahead = tape.read(world_size)
            if 0 < len(ahead) < world_size and sum(map(len, ahead)) < world_size:
                held += ahead
                break
            yield Step(list(held[rank]), sum(map(len, held)), before, before + world_size)
            held = ahead
        if held:
            pool = list(chain.from_iterable(held))
            first, end = even(len(pool), rank, world_size) if len(pool) >= world_size else (0, len(pool))
            yield Step(pool[first:end], len(pool), tape.at - len(held), tape.at)
