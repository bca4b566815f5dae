"""Training numbers between two log lines."""

from __future__ import annotations

import math

import pytest
import torch

from nimble_lightning.adapters.training_log import RunningMeans

CPU = torch.device("cpu")


def test_the_loss_is_weighted_by_items_and_starts_anew_after_each_line() -> None:
    running = RunningMeans()
    running.add_loss(torch.tensor(1.0), 3)
    running.add_loss(torch.tensor(5.0), 1)
    assert running.take(CPU) == {"train_loss": 2.0}
    running.add_loss(torch.tensor(4.0), 4)
    assert running.take(CPU) == {"train_loss": 4.0}
    assert running.mean_loss == 3.0


def test_what_a_failed_try_logged_is_forgotten() -> None:
    running = RunningMeans()
    running.begin()
    running.add("depth", 100)
    running.begin()
    running.add("depth", torch.tensor(2.0))
    running.add("depth", 4)
    running.commit()
    assert running.take(CPU) == {"depth": 3.0}


def test_a_loss_that_is_no_number_shows_where_it_was_and_does_not_become_the_runs() -> None:
    running = RunningMeans()
    running.add_loss(torch.tensor(float("nan")), 2)
    assert math.isnan(running.take(CPU)["train_loss"])
    running.add_loss(torch.tensor(2.0), 2)
    assert running.take(CPU) == {"train_loss": 2.0}
    assert running.mean_loss == 2.0


def test_half_precision_losses_are_summed_in_full() -> None:
    running = RunningMeans()
    for _ in range(5000):
        running.add_loss(torch.tensor(1.0, dtype=torch.bfloat16), 1)
    assert running.take(CPU) == {"train_loss": 1.0}


def test_a_resume_goes_on_with_the_whole_run_and_what_was_not_yet_logged() -> None:
    running, resumed = RunningMeans(), RunningMeans()
    running.add_loss(torch.tensor(0.4), 2)
    running.take(CPU)
    running.add_loss(torch.tensor(0.1), 3)
    running.add("depth", 2)
    running.commit()
    resumed.load_state_dict(running.state_dict())
    for each in (running, resumed):
        each.add_loss(torch.tensor(0.7), 5)
    assert resumed.take(CPU) == running.take(CPU)
    assert resumed.mean_loss == running.mean_loss == pytest.approx((0.4 * 2 + 0.1 * 3 + 0.7 * 5) / 10)
