"""Random generators that datasets, samplers, transforms and collate functions hold."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from nimble_lightning.data.rng import stable_hash
from nimble_lightning.ops.object_members import reachable

_MOST = 10_000
_KINDS = (np.random.Generator, np.random.RandomState, random.Random, torch.Generator)


class Generators:
    """Those that are reached from some objects, wherever in them they are.

    They draw as the global ones do while data is read: from a sequence that is decided by what is read, and
    nobody else notices. So it does not matter how many processes read, how far ahead, or from where on.
    """

    def __init__(self, *roots: Any) -> None:
        found = ((path, thing) for path, thing, _ in reachable((("", root) for root in roots), most=_MOST))
        own: list[Any] = [random._inst, np.random.mtrand._rand, torch.default_generator]
        self._found = [
            (path, thing)
            for path, thing in found
            if issubclass(type(thing), _KINDS)
            and not issubclass(type(thing), random.SystemRandom)
            and all(thing is not one for one in own)
        ]

        self._inner: list[Any] | None = None

    @contextmanager
    def private(self, *keys: int | str, go_on: bool = False) -> Iterator[None]:
        """A block in which they draw from the sequence of these keys, begun anew unless it is to go on."""
        if not self._found:
            yield
            return
        outer = self.states()
        if go_on and self._inner is not None:
            self.put_back(self._inner)
        else:
            for number, (path, thing) in enumerate(self._found):
                _seed(thing, stable_hash("own", *keys, number, path))
        try:
            yield
        finally:
            self._inner = self.states()
            self.put_back(outer)

    def states(self) -> list[Any]:
        """Of each as it is now, in the order in which they were found."""
        return [_state(thing) for _, thing in self._found]

    def put_back(self, states: list[Any]) -> None:
        """Have them draw from there; states of others, which are not of the same kinds, do nothing."""
        if len(states) == len(self._found):
            for (_, thing), state in zip(self._found, states, strict=True):
                _put_back(thing, state)


def _seed(thing: Any, seed: int) -> None:
    if isinstance(thing, np.random.Generator):
        thing.bit_generator.state = type(thing.bit_generator)(seed).state
    elif isinstance(thing, np.random.RandomState):
        thing.seed(seed % 2**32)
    elif isinstance(thing, random.Random):
        thing.seed(seed)
    else:
        thing.manual_seed(seed)


def _state(thing: Any) -> Any:
    if isinstance(thing, np.random.Generator):
        return thing.bit_generator.state
    if isinstance(thing, random.Random):
        return thing.getstate()
    return thing.get_state()


def _put_back(thing: Any, state: Any) -> None:
    if isinstance(thing, np.random.Generator):
        thing.bit_generator.state = state
    elif isinstance(thing, random.Random):
        thing.setstate(state)
    else:
        thing.set_state(state)


def exported(states: list[Any]) -> list[Any]:
    """States as tensors, numbers and containers of these, which `torch.load(weights_only=True)` accepts."""
    return [_plain(state) for state in states]


def imported(plain: list[Any]) -> list[Any]:
    """What `exported` made plain."""
    return [_from_plain(state) for state in plain]


def _plain(state: Any) -> Any:
    if isinstance(state, np.ndarray):
        return {"array": torch.from_numpy(state.astype(np.int64)), "of": state.dtype.name}
    if isinstance(state, np.generic):
        return state.item()
    if isinstance(state, tuple):
        return tuple(_plain(part) for part in state)
    return {name: _plain(part) for name, part in state.items()} if isinstance(state, dict) else state


def _from_plain(state: Any) -> Any:
    if isinstance(state, dict) and state.keys() == {"array", "of"}:
        return state["array"].cpu().numpy().astype(state["of"])
    if isinstance(state, dict):
        return {name: _from_plain(part) for name, part in state.items()}
    return tuple(_from_plain(part) for part in state) if isinstance(state, tuple) else state
