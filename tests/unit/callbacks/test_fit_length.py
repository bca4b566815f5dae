"""How long a fit is holds for modules of ours, which accumulate gradients themselves, as for any other."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning as L
import pytest
import torch

from nimble_lightning import NimbleTrainer, adapt
from nimble_lightning.callbacks import Notification, UsageReport
from nimble_lightning.callbacks._fit_length import batches_of_fit, steps_of_fit
from nimble_lightning.notifications import events
from nimble_lightning.notifications.services import VARIABLE
from nimble_lightning.settings import RunSettings


class Line(NimbleTrainer):
    def pre_process(self):
        x = torch.linspace(-1, 1, 160)[:, None]
        self.train_data, self.model = (x, 2 * x), torch.nn.Linear(1, 1)

    def train(self, batch):
        return (self.model(batch[0]) - batch[1]).square().mean()


class Noting(L.Callback):
    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.found = batches_of_fit(trainer), steps_of_fit(trainer)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.done = trainer.fit_loop.total_batch_idx + 1, trainer.global_step


@pytest.mark.parametrize("limits", [{"max_epochs": 2}, {"max_steps": 4}, {"max_epochs": 9, "max_steps": 6}])
def test_a_fit_that_accumulates_is_as_long_as_it_was_said_to_be(
    limits: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    noting, usage = Noting(), UsageReport()
    module, data = adapt(Line(), settings=RunSettings())
    L.Trainer(
        accelerator="cpu",
        accumulate_grad_batches=2,
        callbacks=[noting, usage, Notification(milestone="50%")],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **{"max_epochs": -1, **limits},
    ).fit(module, datamodule=data)
    assert noting.found == noting.done
    assert usage._account is not None
    assert usage._account.recorder.piece.total == noting.done[0]
    half = next(event for event in events.read(Path()) if event.kind == "milestone")
    assert half.facts["total_steps"] == noting.done[1] == 2 * half.facts["step"]


@pytest.mark.parametrize(
    ("epochs", "steps", "an_epoch", "found"),
    [
        (2, -1, 5, (10, 6)),
        (-1, -1, 5, (math.inf, math.inf)),
        (None, 7, math.inf, (14, 7)),
        (3, -1, math.inf, (math.inf, math.inf)),
        (3, -1, 0, (0, 0)),
    ],
)
def test_without_a_known_end_there_is_none(epochs: Any, steps: int, an_epoch: Any, found: Any) -> None:
    trainer: Any = SimpleNamespace(
        max_epochs=epochs,
        max_steps=steps,
        num_training_batches=an_epoch,
        accumulate_grad_batches=2,
        lightning_module=None,
    )
    assert (batches_of_fit(trainer), steps_of_fit(trainer)) == found
