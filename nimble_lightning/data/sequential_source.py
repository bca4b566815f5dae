"""A source that can only be read from its start, read from any place on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any

from nimble_lightning.data.placed_stream import PlacedSource
from nimble_lightning.data.random_generators import Generators
from nimble_lightning.data.rng import PrivateRandomness
from nimble_lightning.data.sample_order import SamplePlan
from nimble_lightning.data.source import announce, is_hugging_face, open_source


class SequentialSource:
    """One epoch of a source, read with random numbers of its own.

    What lies before the beginning is read and thrown away, so that random draws made on the way repeat
    themselves; a Hugging Face stream which can tell its state exactly is taken up there instead.

    Args:
        source: an iterable, or a function that makes one.
        seed: with `epoch`, of the source's own random numbers.
        epoch: which one to read.
        begin: how many units to pass over.
        place: what `place()` returned at an earlier unit, if it returned something.
    """

    def __init__(
        self, source: Any, seed: int, epoch: int, begin: int, place: dict[str, Any] | None = None
    ) -> None:
        self._randomness = PrivateRandomness("tape", seed, epoch)
        self._stateful = tells_its_state(source)
        self._source = source
        self.at = 0
        with self._randomness:
            announce(self._source, epoch)
        if self._stateful:
            # A stream keeps the state it was given last, so it has to be told to begin at its start, too.
            self._source.load_state_dict(place["source"] if place else {})
        if place is not None and self._stateful:
            self._randomness.load_state_dict(place["random"])
            self.at = int(place["at"])
        self._keys = ("tape", seed, epoch)
        self._own = Generators(self._source)
        with self._drawing():
            self._units = open_source(self._source)
            next(islice(self._units, begin - self.at, begin - self.at), None)
        self.at = begin

    def read(self, count: int) -> list[Any]:
        """The next units, fewer than `count` only at the end."""
        with self._drawing():
            units = list(islice(self._units, count))
        self.at += len(units)
        return units

    @contextmanager
    def _drawing(self) -> Iterator[None]:
        with self._randomness, self._own.private(*self._keys, go_on=True):
            yield

    def place(self) -> dict[str, Any] | None:
        """What is needed to go on from here without reading all that was before."""
        if not self._stateful:
            return None
        return {
            "at": self.at,
            "source": self._source.state_dict(),
            "random": self._randomness.state_dict(),
        }


def rounds(
    tape: SequentialSource | PlacedSource, plan: SamplePlan
) -> Iterator[tuple[list[Any], int, dict[str, Any] | None]]:
    """Cut a source of unknown length as a plan cuts a known one.

    Yields the units of each global batch, the number of units before it, and the last place known when it
    ends.
    """
    place = None
    held = tape.read(plan.whole)
    while len(held) == plan.whole:
        before, known = tape.at - len(held), tape.place()
        # One rank alone never has to share out a rest, so it need not wait for what comes next.
        ahead = tape.read(plan.whole) if plan.world_size > 1 else None
        if ahead is not None and 0 < len(ahead) < plan.world_size:
            held += ahead
            break
        yield held, before, known
        place = known
        held = tape.read(plan.whole) if ahead is None else ahead
    base = tape.at - len(held)
    full, tail = plan.cut(len(held))
    for size in [plan.whole] * full + tail:
        yield held[:size], base, place
        held, base = held[size:], base + size


def tells_its_state(source: Any) -> bool:
    """Whether a Hugging Face stream can be taken up by its state, which has no content of shuffle buffers."""
    if not is_hugging_face(source, "IterableDataset") or not callable(getattr(source, "state_dict", None)):
        return False
    waiting = [getattr(source, "_ex_iterable", None)]
    while waiting:
        layer = waiting.pop()
        if layer is None or type(layer).__name__.startswith("BufferShuffled"):
            return False
        waiting += [inner for name in ("ex_iterable", "ex_iterables") for inner in _layers(layer, name)]
    return True


def _layers(layer: Any, name: str) -> list[Any]:
    inner = getattr(layer, name, [])
    return list(inner) if isinstance(inner, (list, tuple)) else [inner]
