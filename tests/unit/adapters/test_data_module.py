"""What a trainer leaves as data becomes loaders, or the error says which of it cannot."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from nimble_lightning.adapters import NimbleData, UserTrainer
from nimble_lightning.errors import RequestError, TrainerError
from nimble_lightning.settings import RunSettings


class Loads:
    def pre_process(self) -> None:
        data = TensorDataset(torch.ones(8, 2))
        self.train_data, self.eval_data = DataLoader(data, 2), DataLoader(data, 4)

    def train(self, batch: Any) -> Any:
        return batch


@pytest.mark.parametrize("key", ["data.batch_size", "data.num_workers", "data.eval_batch_size"])
def test_a_loader_of_ones_own_has_settings_of_its_own(key: str) -> None:
    data = NimbleData(UserTrainer(Loads, {}), RunSettings(asked=[key]))
    data.setup("fit")
    with pytest.raises(RequestError, match=f"{key} would change nothing: Loads made a DataLoader"):
        data.val_dataloader() if "eval" in key else data.train_dataloader()
    others = NimbleData(UserTrainer(Loads, {}), RunSettings(asked=["data.shuffle", "data.micro_batch_size"]))
    others.setup("fit")
    assert len(others.train_dataloader()) == 4  # type: ignore[arg-type]


class Empty:
    def pre_process(self) -> None:
        self.train_data, self.eval_data, self.test_data = torch.ones(4, 2), torch.ones(0, 2), "test.csv"

    def train(self, batch: Any) -> Any:
        return batch


def test_an_error_says_which_data_it_is_about() -> None:
    data = NimbleData(UserTrainer(Empty, {}), RunSettings())
    data.setup("fit")
    assert len(data.train_dataloader()) == 1  # type: ignore[arg-type]
    with pytest.raises(TrainerError, match="eval data: the dataset is empty"):
        data.val_dataloader()
    with pytest.raises(TrainerError, match=r"test data: 'test\.csv' cannot be used"):
        data.test_dataloader()


class Numbered:
    def pre_process(self) -> None:
        self.train_data = self.eval_data = self.test_data = torch.arange(32)

    def train(self, batch: Any) -> Any:
        return batch


def test_training_data_alone_is_shuffled() -> None:
    data = NimbleData(UserTrainer(Numbered, {}), RunSettings())
    data.setup("fit")
    loaders = data.train_dataloader(), data.val_dataloader(), data.test_dataloader()
    trained, *others = (torch.cat(list(loader)).tolist() for loader in loaders)
    assert others == [list(range(32))] * 2
    assert trained != sorted(trained) == list(range(32))
