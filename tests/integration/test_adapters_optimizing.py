"""Learning rates, clipping and schedules of an adapted trainer, whoever asks for them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest
import torch
from lightning.pytorch.plugins import MixedPrecision
from line_trainer import Line, fitted

from nimble_lightning.errors import RequestError, TrainerError
from nimble_lightning.settings import Clip, DataSettings, RunSettings


def test_the_learning_rate_the_trainer_names_is_used() -> None:
    _, lightning = fitted(Line())
    assert lightning.optimizers[0].param_groups[0]["lr"] == 0.1


def test_the_trainers_own_clipping_and_accumulation_are_honoured_and_given_back() -> None:
    _, lightning = fitted(Line(), gradient_clip_val=0.5, accumulate_grad_batches=2)
    assert lightning.global_step == 4  # 3 batches an epoch: a window of two, and one left over
    assert lightning.gradient_clip_val == 0.5
    assert lightning.accumulate_grad_batches == 2


@pytest.mark.parametrize("scale", [None, 64.0])
@pytest.mark.parametrize(("clip", "largest"), [(Clip(norm=0.25), 0.25), (Clip(value=0.125), 0.125)])
def test_gradients_are_unscaled_then_clipped_before_the_step(
    clip: Clip, largest: float, scale: float | None
) -> None:
    class Sgd(Line):
        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.model.parameters(), lr=1.0)

    options: dict[str, Any] = {"max_steps": 1}
    if scale is not None:
        scaler = torch.amp.GradScaler("cpu", init_scale=scale)
        options["plugins"] = MixedPrecision("16-mixed", "cpu", scaler)
    module, _ = fitted(Sgd(), RunSettings(clip=clip, data=DataSettings(batch_size=12)), **options)
    assert abs(float(module.model.weight.detach())) == pytest.approx(largest)


# Of three batches an epoch the second window holds one.
@pytest.mark.parametrize(
    ("limits", "steps"),
    [
        ({}, 6),
        ({"accumulate_grad_batches": 2}, 4),
        ({"max_steps": 4}, 4),
        ({"max_steps": 9}, 6),
        ({"max_steps": 5, "max_epochs": -1}, 5),
        ({"limit_train_batches": 0.67}, 4),
        ({"limit_train_batches": 1}, 2),
        ({"limit_train_batches": 7, "accumulate_grad_batches": 2}, 4),
    ],
    ids=str,
)
def test_schedules_step_with_the_optimizer_and_know_how_long_the_run_is(
    limits: dict[str, Any], steps: int
) -> None:
    schedule = {"_target_": "nimble_lightning.optim.schedules.linear", "warmup": 0}
    settings = RunSettings(schedule=schedule, data=DataSettings(batch_size=4))
    _, lightning = fitted(Line(), settings, **limits)
    assert lightning.lr_scheduler_configs[0].scheduler.last_epoch == lightning.global_step == steps
    assert lightning.optimizers[0].param_groups[0]["lr"] == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize(
    ("named", "asked", "followed"),
    [("other", "third", 7.0), (None, "third", 9.0), ("other", None, 7.0)],
)
def test_a_plateau_schedule_follows_what_it_names_before_what_the_run_monitors(
    named: str | None, asked: str | None, followed: float
) -> None:
    class Figures(Line):
        def configure_optimizers(self) -> Any:
            optimizer = torch.optim.SGD(self.model.parameters(), lr=0.1)
            described = {"scheduler": torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer)}
            return {"optimizer": optimizer, "lr_scheduler": described | ({"monitor": named} if named else {})}

        def evaluate(self, batch: Any) -> Any:
            return {"loss": 1.0, "other": 7.0, "third": 9.0}

    _, lightning = fitted(Figures(), RunSettings(monitor=asked, data=DataSettings(batch_size=4)))
    assert lightning.lr_scheduler_configs[0].scheduler.best == followed


def test_a_plateau_schedule_follows_the_validation_loss() -> None:
    class Plateau(Line):
        def configure_optimizers(self) -> Any:
            optimizer = torch.optim.SGD(self.model.parameters(), lr=0.0)
            halve = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=0)
            optimizer.param_groups[0]["lr"] = 1e-12
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": halve, "monitor": "val_loss"}}

    _, lightning = fitted(Plateau(), max_epochs=4)
    assert lightning.lr_scheduler_configs[0].scheduler.last_epoch == 4


FORMS: list[tuple[Callable[[Any, Any], Any], int, str]] = [
    # What is returned, after how many of the 3 batches of an epoch the rate moves, and what is said of it.
    (lambda o, s: ([o], [s]), 3, "moves once an epoch"),
    (lambda o, s: ([o], [{"scheduler": s, "interval": "step"}]), 1, ""),
    (lambda o, s: (o, s), 1, "moves once a step"),
    (lambda o, s: {"optimizer": o, "lr_scheduler": s}, 3, "moves once an epoch"),
    (lambda o, s: {"optimizer": o, "lr_scheduler": {"scheduler": s, "interval": "step"}}, 1, ""),
    (lambda o, s: [{"optimizer": o, "lr_scheduler": {"scheduler": s, "interval": "epoch"}}], 3, ""),
    (lambda o, s: (o, {"scheduler": s, "frequency": 2}), 2, "moves once a step"),
    (lambda o, s: ([o], [{"scheduler": s, "frequency": 2}]), 6, "moves once an epoch"),
    (lambda o, s: [o], 99, ""),
    (lambda o, s: (o, None), 99, ""),
]


@pytest.mark.parametrize(("form", "every", "said"), FORMS)
def test_a_schedule_moves_as_the_owners_of_the_form_have_it_and_says_so(
    form: Callable[[Any, Any], Any], every: int, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    class Own(Line):
        def configure_optimizers(self) -> Any:
            self.optimizer = torch.optim.SGD(self.model.parameters(), lr=1.0)
            return form(self.optimizer, torch.optim.lr_scheduler.StepLR(self.optimizer, 1, gamma=0.5))

        def train(self, batch: Any) -> torch.Tensor:
            rates.append(self.optimizer.param_groups[0]["lr"])
            return super().train(batch) * 0

    rates: list[float] = []
    with caplog.at_level(logging.INFO):
        fitted(Own(), max_epochs=4)
    assert rates == [0.5 ** (step // every) for step in range(12)]
    lines = [line for line in caplog.messages if "StepLR moves" in line]
    assert len(lines) == bool(said)
    assert said in "".join(lines)


WRONG: list[tuple[Callable[[Any, Any], Any], str]] = [
    (lambda o, s: None, "returned NoneType; expected an optimizer"),
    (lambda o, s: (s, o), r"returned \(StepLR, SGD\); expected an optimizer"),
    (lambda o, s: {"optimiser": o}, "returned dict; expected an optimizer"),
    (lambda o, s: ([o], [s, s]), "returned 2 schedules"),
    (lambda o, s: (o, 0.1), "returned float for a schedule"),
    (lambda o, s: (o, {"scheduler": s, "intervall": "step"}), "has no 'intervall'"),
    (lambda o, s: (o, {"scheduler": s, "interval": "batch"}), "interval is 'batch'"),
]


@pytest.mark.parametrize(("form", "said"), WRONG)
def test_what_is_no_optimizer_is_refused_in_words(form: Callable[[Any, Any], Any], said: str) -> None:
    class Own(Line):
        def configure_optimizers(self) -> Any:
            optimizer = torch.optim.SGD(self.model.parameters(), lr=1.0)
            return form(optimizer, torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5))

    with pytest.raises(TrainerError, match=said):
        fitted(Own())


def test_an_optimizer_that_asks_for_the_loss_again_is_refused_before_the_first_step() -> None:
    class Own(Line):
        def configure_optimizers(self) -> Any:
            return torch.optim.LBFGS(self.model.parameters())

    with pytest.raises(TrainerError, match="LBFGS computes the loss several times a step"):
        fitted(Own())
    with pytest.raises(TrainerError, match="LBFGS computes the loss several times a step"):
        fitted(Line(), RunSettings(optim={"_target_": "torch.optim.LBFGS"}))


def test_a_plateau_schedule_that_follows_nothing_there_is_is_refused() -> None:
    class Plateau(Line):
        def configure_optimizers(self) -> Any:
            optimizer = torch.optim.SGD(self.model.parameters(), lr=0.1)
            schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer)
            return {"optimizer": optimizer, "lr_scheduler": schedule, "monitor": "val_los"}

    with pytest.raises(RequestError, match="There is no metric val_los; did you mean val_loss"):
        fitted(Plateau())
