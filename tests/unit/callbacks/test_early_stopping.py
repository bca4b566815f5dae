"""Training ends when its figures have stopped getting better, whichever figure and direction they have."""

from __future__ import annotations

from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.demos.boring_classes import BoringDataModule, BoringModel

from nimble_lightning.callbacks import EarlyStopping
from nimble_lightning.errors import RequestError


class Logs(BoringModel):
    def __init__(self, **values: tuple[float, ...]) -> None:
        super().__init__()
        self.values = values

    def on_validation_epoch_end(self) -> None:
        for name, values in self.values.items():
            self.log(name, torch.tensor(float(values[self.trainer.current_epoch])))


def fit(model: L.LightningModule, stopping: EarlyStopping, **options: Any) -> L.Trainer:
    quiet = {
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "accelerator": "cpu",
    }
    few = {"limit_train_batches": 1, "limit_val_batches": 1, "max_epochs": 6, "enable_checkpointing": False}
    trainer = L.Trainer(callbacks=[stopping], **quiet, **few | options)
    trainer.fit(model, datamodule=BoringDataModule())
    return trainer


@pytest.mark.parametrize(
    ("values", "epochs"),
    [
        ({"accuracy": (1, 2, 3, 2, 2, 9)}, 5),
        ({"val_ce": (3, 2, 1, 2, 2, 0)}, 5),
        # The loss goes before what was logged first.
        ({"accuracy": (1, 1, 1, 1, 1, 1), "val_loss": (6, 5, 4, 3, 2, 1)}, 6),
        ({"accuracy": (1, float("nan"), 3, 4, 5, 6)}, 2),
    ],
)
def test_it_takes_what_the_rest_takes(values: dict[str, tuple[float, ...]], epochs: int) -> None:
    stopping = EarlyStopping(patience=2)
    assert fit(Logs(**values), stopping).current_epoch == epochs


def test_by_how_much_the_best_must_be_beaten_counts_both_ways() -> None:
    rising = Logs(accuracy=(1.0, 1.05, 1.1, 1.15, 1.2, 1.25))
    assert fit(rising, EarlyStopping(patience=1, min_delta=0.5)).current_epoch == 2
    falling = Logs(val_ce=(2.0, 1.95, 1.9, 1.85, 1.8, 1.75))
    assert fit(falling, EarlyStopping(patience=1, min_delta=0.5)).current_epoch == 2


def test_what_nobody_knows_to_be_better_is_refused_before_training() -> None:
    model = Logs(mean_gap=(1, 2, 3, 4, 5, 6))
    with pytest.raises(RequestError, match="mean_gap is better lower or higher is not known"):
        fit(model, EarlyStopping())
    assert model.trainer.global_step == 0
    assert fit(model, EarlyStopping(mode="min", patience=2)).current_epoch == 3


def test_without_anything_to_follow_it_is_refused() -> None:
    with pytest.raises(RequestError, match="no validation to follow"):
        fit(Logs(), EarlyStopping(), limit_val_batches=0)
    with pytest.raises(RequestError, match="the validation evaluated no metric"):
        fit(Logs(), EarlyStopping())


def test_a_resumed_one_goes_on_counting() -> None:
    first = EarlyStopping(patience=3)
    fit(Logs(accuracy=(3, 2, 1, 1, 1, 1)), first, max_epochs=3)
    again = EarlyStopping(patience=3)
    again.load_state_dict(first.state_dict())
    assert (again.wait_count, again.monitor, again.mode, float(again.best_score)) == (
        2,
        "accuracy",
        "max",
        3.0,
    )


def test_a_resumed_one_has_the_patience_that_is_asked_for_now() -> None:
    stopping = EarlyStopping(patience=9)
    stopping.load_state_dict(EarlyStopping(patience=1).state_dict())
    assert stopping.patience == 9
