"""The study hears how a trial does, at which step, and ends it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import lightning as L
import torch
from lightning.pytorch.demos.boring_classes import BoringDataModule, BoringModel

from nimble_lightning.ops import studies
from nimble_lightning.worker.search_trial import Pruning


class Trial:
    """Is told of everything, and is hopeless after so many reports."""

    def __init__(self, most: int) -> None:
        self.study = SimpleNamespace(direction=SimpleNamespace(name="MAXIMIZE"))
        self.most, self.told = most, []  # type: ignore[var-annotated]
        self.attributes: dict[str, Any] = {}

    def report(self, value: float, step: int) -> None:
        self.told.append((value, step))

    def should_prune(self) -> bool:
        return len(self.told) >= self.most

    def set_user_attr(self, name: str, value: Any) -> None:
        self.attributes[name] = value


class Counts(BoringModel):
    def on_validation_epoch_end(self) -> None:
        self.log("accuracy", torch.tensor(float(self.global_step)))


def test_it_hears_of_every_validation_at_its_optimizer_step_and_ends_the_trial() -> None:
    trial = Trial(most=2)
    trainer = L.Trainer(
        accelerator="cpu", callbacks=[Pruning(trial, "accuracy")], max_epochs=5, limit_train_batches=3,
        limit_val_batches=1, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(Counts(), datamodule=BoringDataModule())
    assert trial.told == [(3.0, 3), (6.0, 6)]
    assert trial.attributes == {studies.PRUNED: 6}
    assert trainer.global_step == 6
