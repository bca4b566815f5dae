"""Learning rates, clipping and schedules of an adapted trainer, whoever asks for them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from line import Line, fitted

from nimble_lightning.adapters import Clip, DataSettings, Settings


def test_the_learning_rate_the_trainer_names_is_used() -> None:
    _, lightning = fitted(Line())
    assert lightning.optimizers[0].param_groups[0]["lr"] == 0.1


def test_the_trainers_own_clipping_and_accumulation_are_honoured_and_given_back() -> None:
    _, lightning = fitted(Line(), gradient_clip_val=0.5, accumulate_grad_batches=2)
    assert lightning.global_step == 4  # 3 batches an epoch: a window of two, and one left over
    assert lightning.gradient_clip_val == 0.5
    assert lightning.accumulate_grad_batches == 2


@pytest.mark.parametrize(("clip", "largest"), [(Clip(norm=0.25), 0.25), (Clip(value=0.125), 0.125)])
def test_gradients_are_clipped_before_the_step(clip: Clip, largest: float) -> None:
    class Sgd(Line):
        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.model.parameters(), lr=1.0)

    module, _ = fitted(Sgd(), Settings(clip=clip, data=DataSettings(batch_size=12)), max_steps=1)
    assert abs(float(module.model.weight.detach())) == pytest.approx(largest)


def test_schedules_step_with_the_optimizer_and_know_how_long_the_run_is() -> None:
    schedule = {"_target_": "nimble_lightning.optim.schedules.linear", "warmup": 0}
    _, lightning = fitted(Line(), Settings(schedule=schedule, data=DataSettings(batch_size=4)))
    assert lightning.lr_scheduler_configs[0].scheduler.last_epoch == lightning.global_step == 6
    assert lightning.optimizers[0].param_groups[0]["lr"] == pytest.approx(0.0, abs=1e-9)


def test_a_plateau_schedule_follows_the_validation_loss() -> None:
    class Plateau(Line):
        def configure_optimizers(self) -> Any:
            optimizer = torch.optim.SGD(self.model.parameters(), lr=0.0)
            halve = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=0)
            optimizer.param_groups[0]["lr"] = 1e-12
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": halve, "monitor": "val_loss"}}

    _, lightning = fitted(Plateau(), max_epochs=4)
    assert lightning.lr_scheduler_configs[0].scheduler.last_epoch == 4


def test_a_schedule_by_epoch_steps_by_epoch() -> None:
    class Epochs(Line):
        def configure_optimizers(self) -> Any:
            optimizer = torch.optim.SGD(self.model.parameters(), lr=1.0)
            return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)]

    _, lightning = fitted(Epochs(), max_epochs=3)
    assert lightning.optimizers[0].param_groups[0]["lr"] == 0.125
