"""What reading a batch draws from random generators: noted before it, where it draws at all."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch

from nimble_lightning.data import random_generators, rng
from nimble_lightning.data.random_generators import Generators

# Looking at the states of Python and numpy takes as long as reading a small batch. So many readings are
# looked at, and of those that follow one in so many; whoever drew once is looked at from then on.
_FIRST, _ONE_IN = 16, 64


class Moment(NamedTuple):
    """States of the global generators by kind, and of those that a loader holds.

    Kinds from which reading draws nothing are left out.
    """

    shared: dict[str, Any]
    own: list[Any]

    def exported(self) -> dict[str, Any]:
        """As tensors and plain values."""
        return {"shared": rng.exported(self.shared), "own": random_generators.exported(self.own)}

    def same(self, other: Moment) -> bool:
        """Whether nothing was drawn between the two."""
        return _same(self.shared, other.shared) and _same(self.own, other.own)

    @classmethod
    def imported(cls, plain: dict[str, Any]) -> Moment:
        """What `exported` made plain."""
        return cls(rng.imported(plain["shared"]), random_generators.imported(plain["own"]))


class Draws:
    """Looks at the generators before and after each reading.

    Args:
        roots: What may hold generators of its own: loaders, datasets, functions.
    """

    def __init__(self, *roots: Any) -> None:
        self._own = Generators(*roots)
        self._kinds = {"torch"}
        self._count = 0

    def now(self) -> Moment:
        """All of them."""
        return Moment(rng.captured(rng.KINDS), self._own.states())

    def before(self) -> Moment:
        """Those that count, before something is read."""
        self._count += 1
        kinds = rng.KINDS if self._looking else [kind for kind in rng.KINDS if kind in self._kinds]
        return Moment(rng.captured(kinds), self._own.states())

    def after(self, before: Moment) -> Moment:
        """What of it is worth keeping, now that it has been read."""
        others = [kind for kind in before.shared if kind not in self._kinds]
        if others:
            now = rng.captured(others)
            self._kinds |= {kind for kind in others if not _same(before.shared[kind], now[kind])}
        drawn = {kind: state for kind, state in before.shared.items() if kind in self._kinds}
        return Moment(drawn, before.own)

    def put_back(self, moment: Moment) -> None:
        """Have everything draw from there."""
        rng.put_back(moment.shared)
        self._own.put_back(moment.own)

    @property
    def _looking(self) -> bool:
        return self._count <= _FIRST or self._count % _ONE_IN == 0


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, (np.ndarray, torch.Tensor)):
        return bool((one == other).all())
    if isinstance(one, dict):
        return all(_same(part, other[name]) for name, part in one.items())
    # Words of Python's generator are compared as they are: that is quick.
    if isinstance(one, (list, tuple)) and not (one and isinstance(one[-1], int)):
        return len(one) == len(other) and all(map(_same, one, other))
    return bool(one == other)
