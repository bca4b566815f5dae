"""What is told to DeepSpeed before it is set up, and what is refused. Its steps: test_cut_up.py."""

from __future__ import annotations

from typing import Any

import pytest
from lightning.pytorch.strategies import DeepSpeedStrategy, SingleDeviceStrategy

from nimble_lightning.adapters.distributed.deepspeed import prepare
from nimble_lightning.errors import RequestError
from nimble_lightning.settings import Clip


@pytest.fixture
def strategy() -> Any:
    # It cannot be made without DeepSpeed; its configuration is all that counts here.
    made = object.__new__(DeepSpeedStrategy)
    made.config = {"zero_optimization": {"stage": 2}}
    return made


def test_no_batch_size_is_looked_for_in_loaders_that_have_none(strategy: Any) -> None:
    prepare(strategy, Clip(), accumulate=1)
    assert strategy.config["train_micro_batch_size_per_gpu"] == 1


def test_clipping_is_left_to_deepspeed(strategy: Any) -> None:
    prepare(strategy, Clip(norm=0.5), accumulate=1)
    assert strategy.config["gradient_clipping"] == 0.5


@pytest.mark.parametrize(
    ("clip", "accumulate", "remedy"),
    [(Clip(), 4, "data.batch_size 4 times larger"), (Clip(value=1.0), 1, "clip.norm instead")],
)
def test_what_it_cannot_do_right_is_refused_with_what_it_can(
    strategy: Any, clip: Clip, accumulate: int, remedy: str
) -> None:
    with pytest.raises(RequestError, match=remedy):
        prepare(strategy, clip, accumulate)


def test_other_strategies_may_accumulate() -> None:
    prepare(SingleDeviceStrategy(), Clip(value=1.0), accumulate=4)
