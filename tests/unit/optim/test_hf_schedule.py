"""`schedule=hf` gives the rates of transformers by its own names."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from nimble_lightning.errors import RequestError
from nimble_lightning.optim import build_schedule

transformers = pytest.importorskip("transformers")
STEPS = 30
NAMES: list[tuple[str, dict[str, Any]]] = [
    ("linear", {}),
    ("cosine", {}),
    ("cosine_with_restarts", {"num_cycles": 3}),
    ("polynomial", {"power": 2.0, "lr_end": 1e-5}),
    ("constant", {}),
    ("constant_with_warmup", {}),
    ("inverse_sqrt", {"timescale": 5}),
    ("cosine_with_min_lr", {"min_lr": 1e-3}),
    ("warmup_stable_decay", {"num_decay_steps": 8}),
]


def optimizer() -> torch.optim.Optimizer:
    return torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.1)


def rates(schedule: Any) -> list[float]:
    found = []
    for _ in range(STEPS):
        found.append(schedule.get_last_lr()[0])
        schedule.optimizer.step()
        schedule.step()
    return found


@pytest.mark.parametrize(("warmup", "steps"), [(4, 4), (0.11, 4)])
@pytest.mark.parametrize(("name", "specific"), NAMES)
def test_the_rates_are_those_of_transformers(
    name: str, specific: dict[str, Any], warmup: float, steps: int
) -> None:
    spec = {"_target_": "nimble_lightning.optim.hf_schedule.hf", "name": name, "warmup": warmup, **specific}
    theirs = transformers.get_scheduler(name, optimizer(), steps, STEPS, specific or None)
    assert rates(build_schedule(optimizer(), spec, total_steps=STEPS)) == rates(theirs)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"name": "cosin"}, "There is no schedule cosin; did you mean cosine"),
        ({"name": "cosine", "power": 2.0}, r"schedule.power: cosine takes num_cycles"),
        ({"name": "linear", "num_training_steps": 3}, "linear takes nothing besides"),
    ],
)
def test_a_slip_is_refused_in_words(asked: dict[str, Any], words: str) -> None:
    spec = {"_target_": "nimble_lightning.optim.hf_schedule.hf", **asked}
    with pytest.raises(RequestError, match=words):
        build_schedule(optimizer(), spec, total_steps=STEPS)


def test_a_schedule_that_ends_with_the_run_needs_its_end() -> None:
    with pytest.raises(RequestError, match="no known end"):
        build_schedule(optimizer(), {"_target_": "nimble_lightning.optim.hf_schedule.hf", "name": "cosine"})
