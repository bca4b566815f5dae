"""Two checkpoints are the same to the bit, or the first thing that differs is named."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from typing import Any

import pytest
import torch

from nimble_lightning.proof.tensor_differences import first_difference, largest_difference
from nimble_lightning.replay.segment_callback import changed, snapshot

STATE: dict[str, Any] = {
    "state_dict": {"w": torch.tensor([1.0, float("nan"), -0.0]), "n": torch.tensor([3])},
    "optimizer_states": [{"state": {0: {"exp_avg": torch.ones(2)}}, "param_groups": [{"lr": 0.1}]}],
    "global_step": 8,
    "nimble": {"random": [torch.arange(4)], "run_id": "a", "running": {"loss": 1.0}},
    "callbacks": {"Meter": {"seconds": 1.0}},
}


def test_equal_states_have_no_difference_though_they_hold_numbers_that_are_none() -> None:
    assert first_difference(STATE, copy.deepcopy(STATE)) is None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda s: s["state_dict"]["w"].__setitem__(2, 0.0),
            "state_dict.w: 1 of 3 values differ, by up to 0",
        ),
        (lambda s: s["state_dict"]["w"].__setitem__(0, 1.5), "state_dict.w: .* differ, by up to"),
        (lambda s: s["state_dict"].update(n=torch.tensor([3.0])), "torch.int64 .* torch.float32"),
        (lambda s: s["state_dict"].pop("n"), "state_dict.n: .* nothing when trained again"),
        (lambda s: s["optimizer_states"][0]["state"][0].update(exp_avg=torch.zeros(2)), "exp_avg: 2 of 2"),
        (lambda s: s["optimizer_states"][0]["param_groups"][0].update(lr=0.2), "lr: 0.1 in the run, 0.2"),
        (lambda s: s.update(global_step=9), "global_step"),
        (lambda s: s["nimble"]["random"][0].__setitem__(0, 7), "nimble.random.0"),
    ],
)
def test_the_first_difference_is_named(change: Callable[[dict[str, Any]], Any], said: str) -> None:
    other = copy.deepcopy(STATE)
    change(other)
    difference = first_difference(STATE, other)
    assert difference is not None
    assert re.search(said, difference), difference


def test_names_clocks_and_logs_are_no_difference() -> None:
    other = copy.deepcopy(STATE)
    other["nimble"].update(run_id="b", running={"loss": 2.0}, attempt=3)
    other["callbacks"] = {}
    assert first_difference(STATE, other) is None


def test_how_far_two_states_lie_apart_is_measured() -> None:
    one = {"state_dict": {"w": torch.tensor([3.0, 4.0])}, "nimble": {"random": [torch.arange(2)]}}
    other = {"state_dict": {"w": torch.tensor([3.0, 4.005])}, "nimble": {"random": [torch.arange(2) + 1]}}
    worst, where = largest_difference(one, other)
    assert where == "state_dict.w"
    assert worst == pytest.approx(0.001, rel=0.01)
    assert largest_difference(one, {"state_dict": {"w": torch.tensor([3.0, float("nan")])}})[0] == float(
        "inf"
    )


def made(lr: float, **more: Any) -> dict[str, Any]:
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.AdamW([parameter], lr=lr, **more)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=more.pop("T_max", 10))
    optimizer.step()
    schedule.step()
    return snapshot([optimizer], [schedule])


def test_settings_that_a_checkpoint_brings_along_are_held_against_the_claimed_ones() -> None:
    assert changed(made(0.1), made(0.1)) == []
    assert "lr is 0.2 in the run, 0.1" in " ".join(changed(made(0.1), made(0.2)))
    assert "weight_decay" in " ".join(changed(made(0.1), made(0.1, weight_decay=0.5)))
    longer, plain = made(0.1), made(0.1)
    longer["schedulers"][0]["T_max"] = 20
    assert changed(plain, longer) == ["schedule 0: T_max is 20 in the run, 10 by its configuration"]


def test_without_a_schedule_the_rate_itself_counts() -> None:
    one, other = made(0.1), made(0.1)
    one["schedulers"] = other["schedulers"] = []
    for group in one["optimizers"][0]:
        group["lr"] = 0.3
    assert changed(one, other)
