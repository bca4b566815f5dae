from __future__ import annotations

import io
import random
from typing import Any

import numpy as np
import pytest
import torch

from nimble_lightning.data.rng import PrivateRandomness, restore, seeded, snapshot, stable_hash


def draw() -> list[float]:
    """One number from each global source; numpy's normal keeps a second one back for the next call."""
    return [random.gauss(), float(np.random.normal()), float(torch.rand(())), float(torch.randn(()))]


@pytest.fixture(autouse=True)
def _own_states() -> Any:
    state = snapshot()
    yield
    restore(state)


def test_a_snapshot_survives_a_weights_only_checkpoint() -> None:
    draw()
    file = io.BytesIO()
    torch.save(snapshot(), file)
    expected = [draw() for _ in range(3)]
    file.seek(0)
    restore(torch.load(file, weights_only=True))
    assert [draw() for _ in range(3)] == expected


def test_a_seeded_block_draws_what_its_keys_say_and_leaves_no_trace() -> None:
    draw()
    state = snapshot()
    with seeded("a", 1):
        first = draw()
    expected = draw()
    restore(state)
    assert draw() == expected
    with seeded("a", 1):
        assert draw() == first
    with seeded("a", 2):
        assert draw() != first


def test_a_seeded_block_that_fails_leaves_no_trace_either() -> None:
    state = snapshot()
    expected = draw()
    restore(state)
    with pytest.raises(ZeroDivisionError), seeded(1):
        random.random() / 0
    assert draw() == expected


def test_private_randomness_goes_on_from_block_to_block() -> None:
    with seeded("x", 3):
        expected = [draw() for _ in range(3)]
    private = PrivateRandomness("x", 3)
    found = []
    for _ in range(3):
        with private:
            found.append(draw())
        draw()
    assert found == expected


def test_private_randomness_can_be_saved_and_continued() -> None:
    private, outside = PrivateRandomness("x"), snapshot()
    with private:
        draw()
    state = private.state_dict()
    with private:
        expected = draw()
    again = PrivateRandomness("y")
    again.load_state_dict(state)
    with again:
        assert draw() == expected
    expected = draw()
    restore(outside)
    assert draw() == expected


def test_a_hash_is_the_same_in_every_process() -> None:
    assert stable_hash("order", 0, 1) == 8556750900509299915
    assert stable_hash(1, 23) != stable_hash(12, 3)
