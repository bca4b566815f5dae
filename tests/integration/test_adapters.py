"""What somebody writes in the four methods arrives under anybody's `L.Trainer`."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from line_trainer import Line, fitted, trainer

from nimble_lightning import adapt
from nimble_lightning.settings import DataSettings, ModelSettings, RunSettings
from nimble_lightning.trainer import NimbleTrainer


def test_the_trainer_learns_and_its_metrics_keep_their_names() -> None:
    module, lightning = fitted(Line(), max_epochs=60)
    assert float(module.model.weight.detach()) == pytest.approx(2, abs=0.05)
    assert float(lightning.callback_metrics["near"]) == 1.0
    assert float(lightning.callback_metrics["val_loss"]) < 1e-2
    assert lightning.global_step == 180


def test_a_class_that_is_not_ours_works_as_well() -> None:
    class Plain:
        def pre_process(self) -> None:
            self.train_data = torch.ones(8, 1)
            self.model = torch.nn.Linear(1, 1)

        def train(self, batch: torch.Tensor) -> torch.Tensor:
            self.log("twice", 2.0)  # type: ignore[attr-defined]
            return self.model(batch).sum()  # type: ignore[no-any-return]

    _, lightning = fitted(Plain(), log_every_n_steps=1)
    assert float(lightning.callback_metrics["twice"]) == 2.0
    assert "train_loss" in lightning.callback_metrics


def test_without_evaluate_the_loss_itself_is_evaluated() -> None:
    class Unsupervised(NimbleTrainer):
        def pre_process(self) -> None:
            self.train_data = self.eval_data = torch.ones(6, 1)
            self.model = torch.nn.Linear(1, 1, bias=False)
            torch.nn.init.constant_(self.model.weight, 3.0)

        def train(self, batch: torch.Tensor) -> torch.Tensor:
            return self.model(batch).mean()  # type: ignore[no-any-return]

    module, data = adapt(Unsupervised(), settings=RunSettings(data=DataSettings(batch_size=4)))
    assert trainer().validate(module, datamodule=data, verbose=False) == [{"val_loss": 3.0}]


def test_metrics_derived_at_the_end_are_reported_beside_the_measured_ones() -> None:
    class Derived(Line):
        def compute_metrics(self, metrics: dict[str, float]) -> dict[str, float]:
            return {"root": metrics["loss"] ** 0.5}

    module, data = adapt(Derived(), settings=RunSettings())
    found = trainer().validate(module, datamodule=data, verbose=False)[0]
    assert found["root"] == pytest.approx(found["val_loss"] ** 0.5)


def test_predictions_are_made_batch_by_batch() -> None:
    class Predicts(Line):
        def predict(self, batch: Any) -> torch.Tensor:
            return batch[0] * 2

    module, data = adapt(Predicts(), settings=RunSettings(data=DataSettings(eval_batch_size=5)))
    predicted = trainer().predict(module, datamodule=data)
    assert predicted is not None
    assert [len(p) for p in predicted] == [5, 5, 2]  # type: ignore[arg-type]


def test_two_fits_in_a_row_go_on_from_each_other() -> None:
    module, data = adapt(Line(), settings=RunSettings(data=DataSettings(batch_size=4)))
    trainer().fit(module, datamodule=data)
    weight = float(module.model.weight.detach())
    trainer().fit(module, datamodule=data)
    assert float(module.model.weight.detach()) > weight > 0


def test_gradient_checkpointing_and_compiling_keep_the_numbers_and_the_names() -> None:
    class Deep(Line):
        def pre_process(self) -> None:  # type: ignore[override]
            super().pre_process()
            torch.manual_seed(0)
            self.model = torch.nn.Sequential(
                *(
                    torch.nn.Sequential(torch.nn.Linear(1, 4), torch.nn.Tanh(), torch.nn.Linear(4, 1))
                    for _ in range(3)
                )
            )

    def weights(settings: RunSettings) -> dict[str, torch.Tensor]:
        return fitted(Deep(), settings)[0].state_dict()  # type: ignore[no-any-return]

    plain = weights(RunSettings())
    for other in (
        weights(RunSettings(model=ModelSettings(gradient_checkpointing=True))),
        weights(RunSettings(model=ModelSettings(compile={"backend": "eager"}))),
    ):
        assert plain.keys() == other.keys()
        assert all(torch.equal(plain[k], other[k]) for k in plain)
