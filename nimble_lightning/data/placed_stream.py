"""Streams that say where each unit ends, so that reading goes on from there and nothing is read again."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from itertools import islice
from typing import Any, NamedTuple

from torch.utils.data import IterableDataset


class StreamOrder(NamedTuple):
    """What decides the order of a stream, and nothing else does."""

    seed: int
    epoch: int
    shuffle: bool


class PlacedStream(IterableDataset[Any]):
    """Data of unknown length, of which each unit says where the next one begins."""

    @abstractmethod
    def read_from(
        self, place: dict[str, Any] | None, order: StreamOrder
    ) -> Iterator[tuple[Any, dict[str, Any]]]:
        """The units of an epoch from a place on, or from its start, each with the place after it."""

    def __iter__(self) -> Iterator[Any]:
        """As it lies there."""
        return (unit for unit, _ in self.read_from(None, StreamOrder(0, 0, False)))

    @abstractmethod
    def require(self, place: dict[str, Any]) -> None:
        """Refuse a place in other data.

        Raises:
            CheckpointError: It means nothing here.
        """


class PlacedSource:
    """One epoch of such a stream.

    Args:
        source: The stream.
        order: In which it is read.
        begin: How many units to pass over.
        place: What `place()` returned at an earlier unit, if it returned something.
    """

    def __init__(
        self, source: PlacedStream, order: StreamOrder, begin: int, place: dict[str, Any] | None = None
    ) -> None:
        self.at = 0 if place is None else int(place["at"])
        self._after = None if place is None else place["source"]
        self._units = source.read_from(self._after, order)
        self.read(begin - self.at)

    def read(self, count: int) -> list[Any]:
        """The next units, fewer than `count` only at the end."""
        found = list(islice(self._units, count))
        if found:
            self._after = found[-1][1]
        self.at += len(found)
        return [unit for unit, _ in found]

    def place(self) -> dict[str, Any] | None:
        """What is needed to go on from here."""
        return None if self._after is None else {"at": self.at, "source": self._after}
