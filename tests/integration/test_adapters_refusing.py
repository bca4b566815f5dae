"""A trainer that cannot be trained is refused with what to write instead."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from line_trainer import Line, fitted, trainer

from nimble_lightning import adapt
from nimble_lightning.errors import RequestError, TrainerError
from nimble_lightning.trainer import NimbleTrainer


def test_an_object_without_the_methods_is_refused() -> None:
    with pytest.raises(RequestError, match="no method pre_process"):
        adapt(object())


def test_a_misspelt_parameter_is_refused() -> None:
    module, data = adapt(Line(), sample=3)
    with pytest.raises(RequestError, match="no parameter 'sample'.*samples"):
        trainer().fit(module, datamodule=data)


def test_nothing_to_train_is_said_with_the_remedy() -> None:
    class Empty(NimbleTrainer):
        def pre_process(self) -> None:
            self.train_data = torch.ones(4, 1)

        def train(self, batch: Any) -> Any:
            return batch.sum()

    with pytest.raises(TrainerError, match=r"nothing to train.*self\.model"):
        fitted(Empty())


def test_no_data_is_said_with_the_remedy() -> None:
    class NoData(Line):
        def pre_process(self) -> None:  # type: ignore[override]
            self.model = torch.nn.Linear(1, 1)

    with pytest.raises(TrainerError, match=r"no training data.*self\.train_data"):
        fitted(NoData())


def test_a_loss_that_is_none_is_refused() -> None:
    class Silent(Line):
        def train(self, batch: Any) -> Any:
            return None

    with pytest.raises(TrainerError, match="train returned NoneType"):
        fitted(Silent())


def test_several_optimizers_are_refused_with_the_way_to_have_them() -> None:
    class Two(Line):
        def configure_optimizers(self) -> Any:
            return [
                torch.optim.SGD(self.model.parameters(), lr=1.0),
                torch.optim.SGD(self.model.parameters(), lr=1.0),
            ]

    with pytest.raises(TrainerError, match="LightningModule"):
        fitted(Two())
