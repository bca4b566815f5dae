"""How much better, and how sure of it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from nimble_lightning.validators.comparison import Comparison, Interval, interval_of_mean


def normal_interval(values: np.ndarray) -> tuple[float, float]:
    half = 1.96 * values.std(ddof=1) / len(values) ** 0.5
    return values.mean() - half, values.mean() + half


@pytest.mark.parametrize("size", [400, 3000, 30_000])
@pytest.mark.parametrize("kind", ["right and wrong", "losses"])
def test_the_interval_is_that_of_theory(size: int, kind: str) -> None:
    chance = np.random.default_rng(1)
    values = (
        chance.choice([-1.0, 0.0, 1.0], size, p=[0.1, 0.7, 0.2])
        if kind == "right and wrong"
        else chance.normal(0.3, 1.0, size)
    )
    found = interval_of_mean(values, seed=0)
    assert found is not None
    low, high = normal_interval(values)
    width = high - low
    assert found.low == pytest.approx(low, abs=0.05 * width)
    assert found.high == pytest.approx(high, abs=0.05 * width)


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    chance = np.random.default_rng(2)
    held = 0
    for number in range(300):
        found = interval_of_mean(chance.choice([-1.0, 0.0, 1.0], 300, p=[0.1, 0.6, 0.3]), number)
        assert found is not None
        held += found.low <= 0.2 <= found.high
    assert 0.91 <= held / 300 <= 0.98


@settings(max_examples=20, deadline=None, phases=[Phase.generate])
@given(st.lists(st.floats(-10, 10), min_size=100, max_size=200), st.randoms())
def test_neither_order_nor_ranks_change_an_interval(values: list[float], chance: object) -> None:
    shuffled = list(values)
    chance.shuffle(shuffled)  # type: ignore[attr-defined]
    assert interval_of_mean(np.array(values), 3) == interval_of_mean(np.array(shuffled), 3)


def test_another_seed_gives_a_slightly_different_interval() -> None:
    values = np.random.default_rng(0).normal(size=200)
    assert interval_of_mean(values, 0) != interval_of_mean(values, 1)
    assert interval_of_mean(values, 0) == interval_of_mean(values, 0)


def test_a_handful_of_samples_allows_no_interval() -> None:
    assert interval_of_mean(np.ones(19), 0) is None
    told = Comparison("bert-tiny", "accuracy", "max", 0.9, 0.5, 19, None, share=True)
    assert told.sentence == (
        "accuracy better than bert-tiny by 40.0 points (no confidence interval: only 19 samples)"
    )


def compared(value: float, other: float, low: float, high: float, **more: object) -> Comparison:
    return Comparison(
        "bert-tiny", "accuracy", "max", value, other, 1797, Interval(low, high), share=True, **more
    )  # type: ignore[arg-type]


def test_better_is_what_luck_does_not_explain() -> None:
    better = compared(0.951, 0.930, 0.008, 0.035)
    assert better.better_by(0.0)
    assert not better.better_by(0.01), "a margin has to be exceeded by the interval as well"
    assert better.sentence == ("accuracy better than bert-tiny by 2.1 points (95 % CI 0.8 to 3.5), n=1,797")
    unsure = compared(0.951, 0.948, -0.004, 0.010)
    assert not unsure.better_by(0.0)
    assert unsure.sentence == (
        "accuracy not shown to be better than bert-tiny: +0.3 points (95 % CI -0.4 to 1.0), n=1,797"
    )
    worse = compared(0.90, 0.95, -0.07, -0.03)
    assert worse.sentence == "accuracy worse than bert-tiny by 5.0 points (95 % CI -7.0 to -3.0), n=1,797"


def test_smaller_is_better_where_the_mode_says_so_and_figures_stay_in_their_unit() -> None:
    told = Comparison("the untrained model", "val_loss", "min", 0.15, 2.3)
    assert told.better_by(0.0)
    assert told.gain == pytest.approx(2.15)
    assert told.sentence == (
        "val_loss better than the untrained model by 2.15 (no confidence interval: no values per sample)"
    )


def test_no_number_is_not_better() -> None:
    assert not Comparison("x", "val_loss", "min", float("nan"), 1.0).better_by(0.0)
    found = interval_of_mean(np.array([float("nan")] * 100), 0)
    assert not Comparison("x", "val_loss", "min", 1.0, 2.0, 100, found).better_by(0.0)
