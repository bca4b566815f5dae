"""A loader that knows its position: which samples the training has consumed, not which were fetched."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from torch.utils.data import DataLoader

from nimble_lightning.errors import CheckpointError, RequestError, TrainerError


class Position(NamedTuple):
    """What all ranks together have consumed; `place` is what some sources need besides to go on from here."""

    epoch: int = 0
    samples: int = 0
    batches: int = 0
    place: dict[str, Any] | None = None


class Loader(ABC):
    """Yields what is left of the current epoch; the position moves by `consumed()`, and by nothing else.

    Iterating is lazy: nothing is read before the first batch is asked for. A loop that never calls
    `consumed()` may still run over it again and again, and gets a new epoch each time. The state is the same
    on all ranks.

    Attributes:
        replicated: every rank sees all samples, because there are fewer of them than ranks; only one should
            count.
        source: the data it was made for.
        name: how messages call that data.
        part: its name among several sets of data for the same purpose.
    """

    # Lightning looks for this beside `sampler`.
    batch_sampler = None

    def __init__(self, options: Options, length: int | None = None) -> None:
        self.options = options
        self.replicated = False
        self.source: Any = None
        self.name = "the data"
        self.part = ""
        self._length = length
        self._position = Position()
        self._delivered: deque[Position] = deque()
        self._read_to_end: int | None = None
        self._accounted = False

    def __getattr__(self, name: str) -> Any:
        """`dataset`, `batch_size` and so on: a loader made of a user's answers as theirs."""
        source = vars(self).get("source")
        if isinstance(source, DataLoader) and not name.startswith("_"):
            return getattr(source, name)
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    @property
    def sampler(self) -> Loader:
        """Lightning announces each epoch to `loader.sampler`."""
        return self

    def __iter__(self) -> Iterator[Any]:
        return self._run()

    def consumed(self) -> None:
        """The work on the oldest delivered batch is done."""
        if not self._delivered:
            raise TrainerError(
                "consumed() was called, but this loader has delivered no batch since the last call"
            )
        self._accounted = True
        self._position = self._delivered.popleft()

    def close(self) -> None:
        """End worker processes; iterating again starts new ones."""
        self._go_to(self._position)

    @property
    def _iterator(self) -> None:
        """Lightning sets this to None when a run ends, as torch's loaders keep their workers in it."""
        return

    @_iterator.setter
    def _iterator(self, _: None) -> None:
        self.close()

    def set_epoch(self, epoch: int) -> None:
        """Go to the start of `epoch`, unless it is the current one.

        A loader that was restored, or that is told what was consumed, never goes back: it knows better.
        """
        self._read_to_end = None
        if epoch > self._position.epoch or (epoch < self._position.epoch and not self._accounted):
            self._go_to(Position(epoch))

    def state_dict(self) -> dict[str, Any]:
        """Where to go on. The end of an epoch is the start of the next."""
        epoch, samples, batches, place = self._position
        state = {"epoch": epoch, "samples": samples, "batches": batches, "seed": self.options.seed}
        if self._length is not None:
            state["length"] = self._length
        return state if place is None else {**state, "place": place}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on where the state was taken, on any number of ranks and with any batch size."""
        self._check(state_dict)
        position = self._settle(
            Position(
                int(state_dict["epoch"]),
                int(state_dict["samples"]),
                int(state_dict["batches"]),
                state_dict.get("place"),
            )
        )
        self._accounted = True
        self._read_to_end = None
        # Lightning may restore what was restored before; batches it has fetched meanwhile stay good.
        if position[:3] != self._position[:3]:
            self._go_to(position)

    @abstractmethod
    def _read(self, start: Position) -> Iterator[tuple[Position, Any]]:
        """The batches from `start` to the end of its epoch, each with the position after it."""

    def _settle(self, position: Position) -> Position:
        """`position`, or the start of the next epoch if nothing is left of this one."""
        return position

    def _run(self) -> Iterator[Any]:
        if self._read_to_end == self._position.epoch:
            self._go_to(Position(self._position.epoch + 1))
        start, mark = self._position, None
        delivered = self._delivered = deque()
        for mark, batch in self._read(start):
            delivered.append(mark)
            yield batch
        if mark is not None:
            self._finish(delivered, mark, Position(start.epoch + 1))
        elif start.samples:
            self._go_to(Position(start.epoch + 1))
            yield from self._run()
        else:
            raise TrainerError(
                f"{self.name} gave no batch in epoch {start.epoch}. Give something that can be read "
                "again, such as the function that makes the iterator, and with drop_last no less than one "
                "global batch."
            )

    def _finish(self, delivered: deque[Position], last: Position, after: Position) -> None:
        if delivered is not self._delivered:
            return
        self._read_to_end = after.epoch - 1
        if delivered:
            delivered[-1] = after
        elif self._position is last:
            self._position = after

    def _go_to(self, position: Position) -> None:
        self._position = position
        self._delivered = deque()

    def _check(self, state: dict[str, Any]) -> None:
        missing = {"epoch", "samples", "batches"} - state.keys()
        if missing:
            raise CheckpointError(
                f"this is not the state of a loader: it has no {', '.join(sorted(missing))}"
            )
        for key, now in (("length", self._length), ("seed", self.options.seed)):
            then = state.get(key)
            if then is not None and now is not None and then != now:
                raise CheckpointError(
                    f"the {key} of the data was {then} when the checkpoint was made and is {now} now; "
                    "its position means nothing. Restore data and seed, or start anew with resume=never."
                )


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
        lengths: of the samples, where those of about the same length are to come together.
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
    lengths: Sequence[int] | None = None

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise RequestError(f"the batch size is {self.batch_size}; it must be 1 or more")
        if self.num_workers < 0:
            raise RequestError(f"the number of loader workers is {self.num_workers}; it must be 0 or more")
        if not 0 <= self.rank < self.world_size:
            raise RequestError(f"rank {self.rank} is not one of {self.world_size} ranks, counted from 0")
