"""An ordinary LightningModule, with its data beside it, named, or its own, gets a supervised run."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import nimble_lightning as nl
from nimble_lightning.commands import main

MODULE = """
import os
import signal
from pathlib import Path

import lightning as L
import torch
from torch.utils.data import DataLoader, TensorDataset


def loader(start, shuffle=False):
    x = torch.randn(48, 3, generator=torch.Generator().manual_seed(start))
    return DataLoader(TensorDataset(x, x.sum(1, keepdim=True)), batch_size=8, shuffle=shuffle)


def mixed(width):
    return torch.nn.Sequential(torch.nn.Linear(3, width), torch.nn.Dropout(0.1), torch.nn.Linear(width, 1))


class Model(L.LightningModule):
    def __init__(self, width: int = 4, root: Path = Path("x"), kill_at: int = -1, net=None):
        super().__init__()
        self.save_hyperparameters()
        self.net = net or mixed(width)

    def loss(self, batch):
        return (self.net(batch[0]) - batch[1]).pow(2).mean()

    def training_step(self, batch, batch_idx):
        flag = Path(self.trainer.default_root_dir, "killed")
        if self.global_step == self.hparams.kill_at and not flag.exists():
            flag.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        loss = self.loss(batch)
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch, batch_idx):
        self.log("val_loss", self.loss(batch))

    def test_step(self, batch, batch_idx):
        self.log("test_loss", self.loss(batch))

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=1e-2)
"""
LOADERS = """
    def train_dataloader(self):
        return loader(1, shuffle=True)

    def val_dataloader(self):
        return loader(2)

    def test_dataloader(self):
        return loader(3)
"""
DATA = f"class Data(L.LightningDataModule):{LOADERS}"
FUNCTION = """
def build(width: int = 4, kill_at: int = -1):
    return Model(width, kill_at=kill_at, net=torch.nn.Linear(3, 1)), Data()
"""


def run(source: str, trainer: str = "model.py", run_id: str | None = None, **params: object) -> nl.Result:
    Path("model.py").write_text(source)
    return nl.run(
        trainer,
        run_id=run_id,
        check=False,
        params=params,
        lightning={"max_epochs": 2, "accelerator": "cpu"},
        callbacks={"progress": None, "auto_retry": {"save_every_n_steps": 2}},
    )


@pytest.mark.parametrize(
    ("source", "trainer"),
    [
        (MODULE + DATA, "model.py"),
        (MODULE + LOADERS, "model.py"),
        (MODULE + DATA + FUNCTION, "model.py:build"),
    ],
    ids=["datamodule beside it", "loaders of its own", "function"],
)
def test_it_is_trained_tested_and_its_best_weights_are_kept(source: str, trainer: str) -> None:
    result = run(source, trainer, width=3)
    assert (result.status, result.global_step) == ("finished", 12), result.message
    assert {"train_loss", "val_loss", "test_loss", "train_runtime"} <= result.metrics.keys()
    assert result.best_checkpoint is not None
    saved = torch.load(result.best_checkpoint, weights_only=True)
    assert saved["hyper_parameters"]["width"] == 3
    assert saved["hyper_parameters"]["root"] == "x", "a path is kept as text"
    assert ("net" in saved["hyper_parameters"]) == (trainer == "model.py"), "a module is no setting"


def test_killed_it_ends_with_the_figures_of_an_undisturbed_run() -> None:
    metrics = []
    for kill_at in (-1, 9):
        result = run(MODULE + DATA, kill_at=kill_at)
        assert result.status == "finished", result.message
        assert len(result.attempts) == (1 if kill_at < 0 else 2)
        metrics.append({k: v for k, v in result.metrics.items() if k.endswith("_loss")})
    assert metrics[0] == metrics[1]


ENDING = """
    def on_train_end(self):
        with Path(self.trainer.default_root_dir, "ends").open("a+") as ends:
            ends.write(f"{torch.rand(()).item()} ")
            ends.seek(0)
            if len(ends.read().split()) <= FAILS:
                raise OSError("the file could not be written")
        torch.nn.init.ones_(self.net[0].weight)
"""


def test_what_fails_after_the_last_step_is_done_again_and_no_success_without_it() -> None:
    runs = {n: run(f"FAILS = {n}\n{MODULE}{ENDING}{DATA}", run_id=f"fails-{n}") for n in (0, 1, 9)}
    assert [result.status for result in runs.values()] == ["finished", "finished", "failed"]
    assert [len(result.attempts) for result in runs.values()] == [1, 2, 2]
    assert "the file could not be written" in runs[9].message
    ends = [(result.folder / "ends").read_text().split() for result in runs.values()]
    assert ends[1] == ends[0] * 2, "with the random numbers it had"
    losses = [{k: v for k, v in runs[n].metrics.items() if k.endswith("_loss")} for n in (0, 1)]
    assert losses[0] == losses[1]


def test_the_data_module_may_be_in_another_file(capfd: pytest.CaptureFixture[str]) -> None:
    Path("model.py").write_text(MODULE)
    Path("data.py").write_text(f"import lightning as L\nfrom model import loader\n{DATA}")
    settings = ["lightning.max_epochs=1", "lightning.accelerator=cpu", "params.width=5"]
    code = main.main(["train", "model.py", "datamodule=data.py:Data", *settings])
    assert code == 0, capfd.readouterr()
    assert main.main(["train", "model.py", "datamodule=data.py:Data", "params.widht=5"]) == 2
    assert "params.width" in capfd.readouterr().err
