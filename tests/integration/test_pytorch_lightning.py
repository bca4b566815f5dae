"""A project that imports `pytorch_lightning` gets a run of ours like any other."""

from __future__ import annotations

import json
from pathlib import Path

from forked_command import Command

PROJECT = """
import os
import signal
from pathlib import Path

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import LearningRateMonitor
from torch.utils.data import DataLoader, TensorDataset


def loader(shuffle=False):
    x = torch.randn(48, 3, generator=torch.Generator().manual_seed(1))
    return DataLoader(TensorDataset(x, x.sum(1, keepdim=True)), 8, shuffle=shuffle)


class Data(pl.LightningDataModule):
    def train_dataloader(self):
        return loader(shuffle=True)

    def val_dataloader(self):
        return loader()


class Model(pl.LightningModule):
    def __init__(self, lr: float = 0.1, kill_at: int = -1):
        super().__init__()
        self.save_hyperparameters()
        self.net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Dropout(0.1), torch.nn.Linear(4, 1))

    def configure_callbacks(self):
        from pytorch_lightning.callbacks import Timer

        return [LearningRateMonitor(), Timer()]

    def loss(self, batch):
        return (self.net(batch[0]) - batch[1]).pow(2).mean()

    def training_step(self, batch, batch_idx):
        flag = Path(self.trainer.default_root_dir, "killed")
        if self.global_step == self.hparams.kill_at and not flag.exists():
            flag.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return self.loss(batch)

    def validation_step(self, batch, batch_idx):
        self.log("val_loss", self.loss(batch))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), self.hparams.lr)
"""


def run(name: str, *words: str) -> dict[str, object]:
    done = Command(
        "trainer=project.py",
        f"run_id={name}",
        "lightning.max_epochs=2",
        "lightning.accelerator=cpu",
        "callbacks.auto_retry.save_every_n_steps=4",
        *words,
    ).end()
    assert done.returncode == 0, done.stderr
    return json.loads(Path(f"outputs/project/{name}/run.json").read_text())


def test_it_is_trained_and_ends_alike_when_it_is_killed_on_the_way() -> None:
    Path("project.py").write_text(PROJECT)
    undisturbed, killed = run("one"), run("two", "params.kill_at=7")
    assert [len(record["attempts"]) for record in (undisturbed, killed)] == [1, 2]
    assert killed["metrics"]["val_loss"] == undisturbed["metrics"]["val_loss"]
    assert killed["metrics"]["global_step"] == 12
