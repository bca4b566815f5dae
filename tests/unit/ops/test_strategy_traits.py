"""What each strategy does by itself, as Lightning's classes have it."""

from __future__ import annotations

from typing import Any

import pytest
from lightning.pytorch import strategies

from nimble_lightning.ops.strategy_traits import Averages, StrategyTraits, traits_of


def made(cls: type) -> Any:
    """One that is not set up, which takes devices."""
    return cls.__new__(cls)


@pytest.mark.parametrize(
    ("cls", "traits"),
    [
        (strategies.SingleDeviceStrategy, StrategyTraits(Averages.NOBODY)),
        (strategies.DDPStrategy, StrategyTraits(Averages.US)),
        (strategies.FSDPStrategy, StrategyTraits(Averages.MODEL, sharded=True, flat=True)),
        (strategies.ModelParallelStrategy, StrategyTraits(Averages.MODEL, sharded=True)),
        (strategies.DeepSpeedStrategy, StrategyTraits(Averages.ENGINE, sharded=True, plain_steps=False)),
    ],
)
def test_what_is_derived_from_a_strategy_is_described_as_it_is(cls: type, traits: StrategyTraits) -> None:
    assert traits_of(made(cls)) == traits
    assert traits_of(made(type("OfMine", (cls,), {}))) == traits


def test_a_batch_is_not_tried_again_where_ranks_wait_for_each_other_within_it() -> None:
    redoable = {each for each in Averages if StrategyTraits(each).redoable}
    assert redoable == {Averages.US, Averages.NOBODY}


def test_nothing_is_taken_for_granted_of_a_strategy_that_is_not_known() -> None:
    unknown = traits_of(object())
    assert not unknown.plain_steps
    assert not unknown.redoable
    assert not unknown.sharded
