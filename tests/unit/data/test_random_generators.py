from __future__ import annotations

import functools
import random
from typing import Any

import numpy as np
import pytest
import torch

from nimble_lightning.adapters.stop_iteration import Watched
from nimble_lightning.data.random_generators import Generators


class Step:
    def __init__(self) -> None:
        self.rng = np.random.default_rng(1)


class Held:
    """Generators of every kind, wherever they may be."""

    def __init__(self) -> None:
        self.python, self.old = random.Random(2), np.random.RandomState(3)
        self.torch = torch.Generator().manual_seed(4)
        self.steps = {"a": [Step(), (Step(),)]}

    def draw(self) -> list[float]:
        steps = [self.steps["a"][0], self.steps["a"][1][0]]  # type: ignore[index]
        own = [self.python.gauss(), self.old.normal(), float(torch.rand((), generator=self.torch))]
        return own + [step.rng.random() for step in steps]


def closed_over(held: Held) -> Any:
    return lambda: held.draw()


@pytest.mark.parametrize(
    "wrap",
    [
        lambda held: held,
        lambda held: held.draw,
        lambda held: Watched(held.draw),
        closed_over,
        lambda held: functools.partial(print, held),
    ],
)
def test_they_draw_what_the_keys_say_and_nobody_else_notices(wrap: Any) -> None:
    held, untouched = Held(), Held()
    generators = Generators(wrap(held))
    with generators.private("a", 1):
        first = held.draw()
    assert held.draw() == untouched.draw()
    with generators.private("a", 2):
        second = held.draw()
    other = Held()
    other.draw()
    with Generators(wrap(other)).private("a", 1):
        assert other.draw() == first
    assert not set(first) & set(second)
    assert len(set(first)) == len(first)


def test_a_sequence_may_go_on_from_block_to_block() -> None:
    held, whole = Held(), Held()
    with Generators(whole).private("a"):
        expected = whole.draw(), whole.draw()
    generators, parts = Generators(held), []
    for _ in range(2):
        with generators.private("a", go_on=True):
            parts.append(held.draw())
        held.draw()
    assert tuple(parts) == expected


def test_the_global_ones_are_left_to_others() -> None:
    class User:
        everyones = (np.random.mtrand._rand, random._inst, torch.default_generator)  # type: ignore[attr-defined]

        def __init__(self) -> None:
            self.mine = self.everyones

    assert not Generators(User())._found
