"""From settings to an optimizer and a schedule, or to an error that says what to type."""

from __future__ import annotations

import functools
import math
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from torch import nn
from torch.optim.lr_scheduler import LambdaLR, OneCycleLR, ReduceLROnPlateau, StepLR

from nimble_lightning.errors import RequestError
from nimble_lightning.optim import Lion, build_optimizer, build_schedule

ADAMW = {"_target_": "torch.optim.AdamW"}


def rate(optimizer: torch.optim.Optimizer) -> float:
    return float(optimizer.param_groups[0]["lr"])


@pytest.mark.parametrize(
    ("asked", "own", "expected"),
    [(None, None, 1e-3), (None, 0.2, 0.2), (0.3, 0.2, 0.3), (0.3, None, 0.3), (0, 0.2, 0.0)],
)
def test_the_rate_is_the_settings_else_the_trainers_else_the_optimizers(
    asked: Any, own: Any, expected: float
) -> None:
    assert rate(build_optimizer(nn.Linear(2, 2), {**ADAMW, "lr": asked}, lr=own)) == expected


@pytest.mark.parametrize("wrong", ["fast", True, -1e-3, math.inf, math.nan])
def test_a_rate_that_is_no_number_is_refused(wrong: Any) -> None:
    with pytest.raises(RequestError, match="learning rate is .* Set optim.lr"):
        build_optimizer(nn.Linear(2, 2), ADAMW, lr=wrong)


def test_without_settings_it_is_adamw_and_a_constant_rate() -> None:
    optimizer = build_optimizer([nn.Linear(2, 2)])
    assert type(optimizer) is torch.optim.AdamW
    assert isinstance(build_schedule(optimizer), LambdaLR)


def test_hydras_containers_become_plain_values() -> None:
    spec = OmegaConf.create({**ADAMW, "_partial_": True, "betas": [0.8, 0.9], "lr": None})
    group = build_optimizer(nn.Linear(2, 2), spec).param_groups[0]
    assert type(group["betas"]) is tuple
    assert group["betas"] == (0.8, 0.9)


@pytest.mark.parametrize(
    "spec",
    [
        functools.partial(torch.optim.AdamW, lr=0.5, weight_decay=0.1),
        {**ADAMW, "lr": 0.5, "weight_decay": 0.1},
        lambda groups, weight_decay=0.1: torch.optim.AdamW(groups, lr=0.5),
    ],
)
def test_mappings_partials_and_functions_are_taken_alike(spec: Any) -> None:
    optimizer = build_optimizer(nn.Linear(2, 2), spec, lr=None)
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.1, 0.0]
    assert rate(optimizer) == 0.5


def test_a_function_that_knows_no_decay_gets_bare_groups() -> None:
    optimizer = build_optimizer(nn.Linear(2, 2), lambda groups: torch.optim.Rprop(groups), lr=0.1)
    assert "weight_decay" not in optimizer.param_groups[0]


@pytest.mark.parametrize("name", ["Adam", "AdamW", "SGD", "Adagrad"])
def test_optimizers_are_fused_where_torch_can(name: str) -> None:
    assert build_optimizer(nn.Linear(2, 2), {"_target_": f"torch.optim.{name}", "fused": None}).defaults[
        "fused"
    ]


@pytest.mark.parametrize("setting", [{"fused": False}, {"foreach": True}, {"differentiable": True}])
def test_a_choice_of_implementation_is_respected(setting: dict[str, bool]) -> None:
    optimizer = build_optimizer(nn.Linear(2, 2), {**ADAMW, **setting})
    assert not optimizer.defaults["fused"]
    assert all(optimizer.defaults[key] == value for key, value in setting.items())


@pytest.mark.parametrize("module", [nn.Linear(2, 2, dtype=torch.complex64), nn.Linear(2, 2, device="meta")])
def test_parameters_torch_cannot_fuse_are_left_to_its_default(module: nn.Module) -> None:
    assert not build_optimizer(module, ADAMW).defaults["fused"]


def test_optimizers_without_a_fused_form_are_built_as_they_are() -> None:
    assert isinstance(
        build_optimizer(nn.Linear(2, 2), {"_target_": "torch.optim.RMSprop"}), torch.optim.RMSprop
    )
    assert isinstance(build_optimizer(nn.Linear(2, 2), {"_target_": "nimble_lightning.optim.Lion"}), Lion)


@pytest.mark.parametrize("modules", [nn.ReLU(), [], {"a": nn.Linear(2, 2).requires_grad_(False)}])
def test_nothing_to_train_is_refused(modules: Any) -> None:
    with pytest.raises(RequestError, match="nothing to train.*self.model"):
        build_optimizer(modules, ADAMW)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"_target_": "torch.optim.AdamV"}, r"optim\._target_='torch.optim.AdamV' cannot be imported"),
        ({"_target_": "AdamW"}, r"package\.module\.Name"),
        ({"lr": 0.1}, r"optim\._target_=None"),
        ({"_target_": "torch.optim.__name__"}, "expected a class or function"),
        ({**ADAMW, "weight_decya": 0.1}, r"optim\.weight_decya.* Did you mean optim\.weight_decay\?"),
        ({**ADAMW, "xyz": 0.1}, r"optim\.xyz: AdamW has no such argument\. It takes: lr, betas"),
        ({**ADAMW, "betas": [0.9, 2.0]}, "AdamW refused its arguments: .*beta"),
        ({"_target_": "builtins.list"}, "made a list"),
        ("adamw", "neither settings with a _target_"),
    ],
)
def test_wrong_settings_are_refused_with_what_to_type(spec: Any, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        build_optimizer(nn.Linear(2, 2), spec)


@pytest.mark.parametrize("unknown", [None, math.inf, -1])
def test_a_schedule_that_needs_the_length_of_the_run_is_refused_without(unknown: float | None) -> None:
    optimizer = build_optimizer(nn.Linear(2, 2))
    with pytest.raises(RequestError, match=r"lightning\.max_steps=N"):
        build_schedule(
            optimizer, {"_target_": "nimble_lightning.optim.schedules.cosine"}, total_steps=unknown
        )


def test_schedules_of_torch_get_what_the_run_knows() -> None:
    optimizer = build_optimizer(nn.Linear(2, 2))
    spec = {"_target_": "torch.optim.lr_scheduler.OneCycleLR", "max_lr": 0.1}
    schedule = build_schedule(optimizer, spec, total_steps=7, steps_per_epoch=3)
    assert isinstance(schedule, OneCycleLR)
    assert schedule.total_steps == 7
    assert isinstance(
        build_schedule(optimizer, functools.partial(StepLR, step_size=2), total_steps=7), StepLR
    )


@pytest.mark.parametrize(
    ("own", "metric", "expected"), [(None, "max", "max"), (None, None, "min"), ("min", "max", "min")]
)
def test_plateau_follows_the_monitored_metric_unless_told(own: Any, metric: Any, expected: str) -> None:
    spec = {"_target_": "nimble_lightning.optim.schedules.plateau", "mode": own}
    schedule = build_schedule(build_optimizer(nn.Linear(2, 2)), spec, mode=metric)
    assert isinstance(schedule, ReduceLROnPlateau)
    assert schedule.mode == expected
