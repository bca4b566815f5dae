"""An iterator of the user's that comes to its end is never taken for the end of the data."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from torch.utils.data import DataLoader

from nimble_lightning import adapt
from nimble_lightning.adapters.stop_iteration import Watched, watch_steps
from nimble_lightning.errors import TrainerError

DATA = torch.arange(8.0)[:, None]


def trainer() -> L.Trainer:
    return L.Trainer(
        max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0,
    )  # fmt: skip


def ended() -> Any:
    return next(iter(()))


class Four:
    """Four methods, one of which asks for more than there is."""

    def pre_process(self) -> None:
        self.train_data = self.eval_data = DATA
        self.model = torch.nn.Linear(1, 1)

    def train(self, batch: Any) -> Any:
        return self.model(batch).mean()

    def evaluate(self, batch: Any) -> Any:
        return {"loss": self.model(batch).mean()}


@pytest.mark.parametrize("name", ["train", "evaluate", "compute_loss", "compute_metrics", "collate"])
def test_in_a_method_it_is_an_error_with_its_place(name: str) -> None:
    outputs = {"train": lambda self, batch: [self.model(batch)]} if name == "compute_loss" else {}
    broken = type("Broken", (Four,), {**outputs, name: lambda self, *_: ended()})
    module, data = adapt(broken())
    with pytest.raises(TrainerError, match=rf"StopIteration in .*{Path(__file__).name}, line \d+"):
        trainer().fit(module, datamodule=data)


class Rows(torch.utils.data.Dataset[torch.Tensor]):
    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> torch.Tensor:
        return ended() if index == 5 else DATA[index]


def test_in_a_dataset_that_has_more_it_is_an_error_with_the_samples() -> None:
    user = Four()
    module, data = adapt(user)
    user.pre_process()
    user.train_data = Rows()  # type: ignore[assignment]
    user.pre_process = lambda: None  # type: ignore[method-assign]
    with pytest.raises(TrainerError, match=r"Rows raised StopIteration for samples \[\d"):
        trainer().fit(module, datamodule=data)


class Given(L.LightningModule):
    def __init__(self, automatic: bool, broken: str) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
        self.automatic_optimization, self.broken = automatic, broken

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return ended() if self.broken == "training_step" and batch_idx else self.layer(batch).mean()

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        if self.broken == "validation_step":
            ended()

    def on_validation_epoch_end(self) -> None:
        if self.broken == "on_validation_epoch_end":
            ended()

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)

    def train_dataloader(self) -> Any:
        return DataLoader(DATA, batch_size=2)  # type: ignore[arg-type]

    val_dataloader = train_dataloader


@pytest.mark.parametrize(
    ("automatic", "broken"),
    [
        (True, "training_step"),
        (False, "training_step"),
        (True, "validation_step"),
        (True, "on_validation_epoch_end"),
    ],
)
def test_so_it_is_in_any_module(automatic: bool, broken: str) -> None:
    module, lightning = Given(automatic, broken), trainer()
    watch_steps(lightning, module)
    with pytest.raises(TrainerError, match="StopIteration"):
        lightning.fit(module)


@pytest.mark.filterwarnings("ignore:Found `dataloader_iter`")
def test_a_step_that_takes_its_batches_itself_ends_the_epoch() -> None:
    class Taking(Given):
        def training_step(self, dataloader_iter: Any) -> Any:  # type: ignore[override]
            return self.layer(next(dataloader_iter)[0]).mean()

    module, lightning = Taking(True, ""), trainer()
    watch_steps(lightning, module)
    lightning.fit(module)
    assert lightning.global_step == 4


def test_a_watched_method_can_be_sent_to_a_worker() -> None:
    assert pickle.loads(pickle.dumps(Watched(ended))).__name__ == "ended"
