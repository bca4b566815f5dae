"""Projects as they are found: with our callbacks, also killed, they end with the weights they have alone."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ALL = "progress,gpu_info,notification,usage_report,auto_retry,exact_resume"
RETRY = [str(Path(sys.executable).with_name("nimble-cli")), "retry", "--"]

BEGIN = """
import hashlib, os, random, signal
from pathlib import Path
import PACKAGE as pl
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset


def die_at(step):
    flag = Path("killed")
    if str(step) == os.environ.get("KILL") and not flag.exists():
        flag.touch()
        os.kill(os.getpid(), signal.SIGKILL)


def tell(module):
    bits = b"".join(p.detach().numpy().tobytes() for p in module.parameters())
    print("weights", hashlib.sha256(bits).hexdigest())


torch.set_num_threads(1)
pl.seed_everything(3)
"""

# A library that makes module, loaders and Trainer inside `fit`, and is given the Trainer's arguments.
FORECASTING = """
class Series(Dataset):
    def __init__(self, values):
        self.values = values

    def __len__(self):
        return len(self.values) - 6

    def __getitem__(self, index):
        noise = np.random.randn() * 0.01
        return self.values[index : index + 5] + noise, self.values[index + 5]


class Network(pl.LightningModule):
    def __init__(self, width):
        super().__init__()
        self.save_hyperparameters()
        parts = torch.nn.Linear(5, width), torch.nn.Dropout(0.1), torch.nn.Linear(width, 1)
        self.net = torch.nn.Sequential(*parts)

    def training_step(self, batch, batch_idx):
        die_at(self.global_step)
        loss = torch.nn.functional.mse_loss(self.net(batch[0].float()).squeeze(1), batch[1])
        self.log("train_loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch, batch_idx):
        self.log("val_loss", torch.nn.functional.mse_loss(self.net(batch[0].float()).squeeze(1), batch[1]))

    def configure_optimizers(self):
        optimizer = torch.optim.Adam(self.parameters(), 1e-2)
        return [optimizer], [torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)]


class Forecaster:
    def __init__(self, trainer):
        self.trainer = trainer

    def fit(self, values):
        self.model = Network(8)
        train = DataLoader(Series(values[:60]), 8, shuffle=True, drop_last=True)
        trainer = pl.Trainer(**self.trainer)
        trainer.fit(self.model, train, DataLoader(Series(values[60:]), 8))
        return self


end = {"max_epochs": 4, "accelerator": "cpu", "logger": False, "enable_checkpointing": False}
tell(Forecaster(end).fit(torch.sin(torch.arange(80) / 5.0)).model)
"""

# A loader class and a sampler of batches of one's own, two optimizers by hand, checkpoints and a logger.
CELLS = """
class Batches:
    def __init__(self, count, size):
        self.count, self.size = count, size

    def __iter__(self):
        order = torch.randperm(self.count).numpy()
        for at in range(0, self.count, self.size):
            yield order[at : at + self.size].tolist()

    def __len__(self):
        return -(-self.count // self.size)


class Cells(DataLoader):
    def __init__(self, counts):
        super().__init__(list(counts), batch_size=None, sampler=Batches(len(counts), 16))
        self.counts = counts

    def __iter__(self):
        for chosen in self.sampler:
            yield {"x": self.counts[chosen]}


class Plan(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.automatic_optimization = False
        self.encoder, self.decoder = torch.nn.Linear(10, 3), torch.nn.Linear(3, 10)

    def training_step(self, batch, batch_idx):
        die_at(self.trainer.fit_loop.total_batch_idx)
        z = self.encoder(batch["x"])
        loss = (self.decoder(z + 0.1 * torch.randn_like(z)) - batch["x"]).square().mean()
        first, second = self.optimizers()
        first.zero_grad(); second.zero_grad()
        self.manual_backward(loss)
        first.step(); second.step()
        self.log("elbo", loss)

    def configure_optimizers(self):
        first = torch.optim.Adam(self.encoder.parameters(), 1e-2)
        return first, torch.optim.SGD(self.decoder.parameters(), 1e-2)


class Data(pl.LightningDataModule):
    def setup(self, stage):
        self.counts = torch.rand(100, 10, generator=torch.Generator().manual_seed(1))

    def train_dataloader(self):
        return Cells(self.counts)


plan = Plan()
pl.Trainer(max_epochs=3, accelerator="cpu", log_every_n_steps=2).fit(plan, datamodule=Data())
tell(plan)
"""

# Objects of the project's own in every checkpoint: nothing can be committed, and all else is as it was.
OBJECTS = FORECASTING.replace(
    "    def configure_optimizers",
    """    def on_save_checkpoint(self, checkpoint):
        checkpoint["encoders"] = {"scale": Path("an object")}

    def configure_optimizers""",
).replace('"enable_checkpointing": False', '"enable_checkpointing": True')


def weights(source: str, *, auto: str = "", kill: int | None = None) -> str:
    Path("theirs.py").write_text(source)
    Path("killed").unlink(missing_ok=True)
    environment = {**os.environ, "NIMBLE_AUTO": auto, "OMP_NUM_THREADS": "1"}
    if kill is not None:
        environment["KILL"] = str(kill)
    command = [*(RETRY if kill is not None else []), sys.executable, "theirs.py"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert (kill is not None) == Path("killed").exists()
    found = re.search(r"^weights (\w+)$", done.stdout, re.MULTILINE)
    assert found is not None, done.stdout
    return found[1]


@pytest.mark.slow
@pytest.mark.parametrize("package", ["lightning.pytorch", "pytorch_lightning"])
@pytest.mark.parametrize("shape", [FORECASTING, CELLS, OBJECTS], ids=["forecasting", "cells", "objects"])
def test_it_ends_with_the_weights_that_it_has_without_us(shape: str, package: str) -> None:
    source = BEGIN.replace("PACKAGE", package) + shape
    alone = weights(source)
    assert weights(source, auto=ALL) == alone
    assert weights(source, auto=ALL, kill=9) == alone
