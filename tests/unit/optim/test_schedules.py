"""The shapes of the schedules, and what they need to know."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.optim.lr_scheduler import LRScheduler, OneCycleLR, ReduceLROnPlateau

from nimble_lightning.errors import RequestError
from nimble_lightning.optim import schedules
from nimble_lightning.optim.schedules import steps_of

PEAK = 2.0


def optimizer() -> torch.optim.Optimizer:
    weight = torch.nn.Parameter(torch.ones(1))
    weight.grad = torch.zeros(1)
    return torch.optim.SGD([weight], lr=PEAK)


def rates(make: Callable[..., LRScheduler], steps: int, **settings: Any) -> list[float]:
    """The rate of each step, and the one after the last."""
    opt = optimizer()
    schedule = make(opt, **settings)
    seen = []
    for _ in range(steps):
        seen.append(opt.param_groups[0]["lr"])
        opt.step()
        schedule.step()
    return [*seen, opt.param_groups[0]["lr"]]


def test_constant_warms_up_and_stays() -> None:
    assert rates(schedules.constant, 6, warmup=3) == [0.5, 1.0, 1.5, 2.0, 2.0, 2.0, 2.0]


def test_cosine_passes_its_known_points() -> None:
    seen = rates(schedules.cosine, 10, total_steps=10, warmup=2, min_ratio=0.1)
    assert seen[:3] == pytest.approx([PEAK / 3, PEAK * 2 / 3, PEAK])
    assert seen[6] == pytest.approx(PEAK * 0.55)
    assert seen[10] == pytest.approx(PEAK * 0.1)


def test_linear_is_a_straight_line() -> None:
    assert rates(schedules.linear, 4, total_steps=4) == [2.0, 1.5, 1.0, 0.5, 0.0]


def test_wsd_is_stable_until_the_decay() -> None:
    seen = rates(schedules.wsd, 10, total_steps=10, warmup=0.1, decay=4, min_ratio=0.5)
    assert seen == pytest.approx([1.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 1.75, 1.5, 1.25, 1.0])


def test_onecycle_gives_the_rates_of_torch() -> None:
    expected = rates(OneCycleLR, 19, total_steps=20, max_lr=PEAK, cycle_momentum=False)
    assert rates(schedules.onecycle, 19, total_steps=20) == pytest.approx(expected)


FALLING = {"cosine": schedules.cosine, "linear": schedules.linear, "wsd": schedules.wsd}


@pytest.mark.parametrize("name", [*FALLING, "onecycle"])
@given(
    total=st.integers(1, 60), warmup=st.one_of(st.integers(0, 80), st.floats(0, 0.99)), low=st.floats(0, 1)
)
def test_rates_rise_to_the_peak_then_fall_to_the_floor_and_stay(
    name: str, total: int, warmup: float, low: float
) -> None:
    settings = {} if name == "onecycle" else {"min_ratio": low}
    make = getattr(schedules, name)
    seen = rates(make, total + 5, total_steps=total, warmup=warmup, **settings)
    top = seen.index(max(seen))
    assert all(0 <= rate <= PEAK * (1 + 1e-12) for rate in seen)
    assert all(a <= b for a, b in zip(seen[:top], seen[1 : top + 1], strict=True))
    assert all(a >= b for a, b in zip(seen[top:], seen[top + 1 :], strict=False))
    if steps_of("warmup", warmup, total) < total - 1:
        assert max(seen) == pytest.approx(PEAK)
        floor = 1 / 25 / 1e4 if name == "onecycle" else low
        assert seen[total:] == pytest.approx([PEAK * floor] * 6)


@pytest.mark.parametrize("name", [*FALLING, "onecycle"])
def test_a_run_without_end_is_refused_with_what_to_type(name: str) -> None:
    with pytest.raises(RequestError, match=rf"schedule={name} .*lightning\.max_steps=N"):
        getattr(schedules, name)(optimizer(), total_steps=None)


def test_a_share_of_a_run_without_end_is_refused() -> None:
    with pytest.raises(RequestError, match=r"schedule\.warmup=0\.1.*lightning\.max_steps=N"):
        schedules.constant(optimizer(), warmup=0.1)


@pytest.mark.parametrize("warmup", [-1, 1.5, 1.0, -0.1, True, "5", float("nan")])
def test_a_warmup_that_is_neither_steps_nor_share_is_refused(warmup: Any) -> None:
    with pytest.raises(RequestError, match=r"schedule\.warmup="):
        schedules.cosine(optimizer(), total_steps=10, warmup=warmup)


@pytest.mark.parametrize("ratio", [-0.1, 1.1, float("nan")])
def test_a_floor_outside_the_peak_is_refused(ratio: float) -> None:
    with pytest.raises(RequestError, match=r"schedule\.min_ratio="):
        schedules.linear(optimizer(), total_steps=10, min_ratio=ratio)


def test_onecycle_refuses_factors_that_would_raise_the_rate() -> None:
    with pytest.raises(RequestError, match="div_factor=0"):
        schedules.onecycle(optimizer(), total_steps=10, div_factor=0)


def test_plateau_cuts_the_rate_when_the_metric_stops_improving_but_not_below_its_floor() -> None:
    opt = optimizer()
    schedule = schedules.plateau(opt, mode="max", factor=0.5, patience=0, min_ratio=0.25)
    assert isinstance(schedule, ReduceLROnPlateau)
    seen = []
    for metric in (0.5, 0.6, 0.6, 0.6, 0.6):
        schedule.step(metric)
        seen.append(opt.param_groups[0]["lr"])
    assert seen == [2.0, 2.0, 1.0, 0.5, 0.5]


def test_plateau_warms_up_with_the_optimizers_steps_and_judges_afterwards() -> None:
    opt = optimizer()
    schedule = schedules.plateau(opt, warmup=3, patience=0, factor=0.5)
    seen = []
    for _ in range(4):
        seen.append(opt.param_groups[0]["lr"])
        opt.step()
        schedule.step(1.0)
    assert seen == [0.5, 1.0, 1.5, 2.0]
    assert schedule.get_last_lr() == [1.0]


def test_plateau_refuses_a_direction_that_does_not_exist() -> None:
    with pytest.raises(RequestError, match=r"schedule\.mode=min"):
        schedules.plateau(optimizer(), mode="best")


@pytest.mark.parametrize("name", ["constant", "cosine", "linear", "wsd", "onecycle", "plateau"])
def test_a_warm_up_that_outlasts_the_run_is_told(name: str, caplog: pytest.LogCaptureFixture) -> None:
    getattr(schedules, name)(optimizer(), total_steps=100, warmup=99)
    assert "warms up" not in caplog.text
    getattr(schedules, name)(optimizer(), total_steps=100, warmup=100)
    assert "warms up for 100 steps and the run has 100: the rate stays below its peak" in caplog.text


def test_a_decay_that_is_cut_off_by_the_warm_up_is_told(caplog: pytest.LogCaptureFixture) -> None:
    schedules.wsd(optimizer(), total_steps=10, warmup=0.5, decay=0.5)
    assert not caplog.text
    schedules.wsd(optimizer(), total_steps=10, warmup=0.5, decay=0.9)
    assert "5 steps of warm-up and 9 of decay do not fit into 10: the decay takes the 5" in caplog.text
