"""A LightningModule and its LightningDataModule, neither knowing us, as a supervised run with sweeps.

    python -m nimble_lightning trainer=examples/lightning_module.py params.width=64
    python -m nimble_lightning -m trainer=examples/lightning_module.py params.width=8,32

The keywords of the module's `__init__` are the settings.
"""

from __future__ import annotations

import lightning as L
import torch
from sklearn.datasets import load_wine
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, random_split


class Wines(L.LightningDataModule):
    """Chemical analyses of 178 Italian wines from three growers."""

    def setup(self, stage):
        features, growers = load_wine(return_X_y=True)
        x = torch.tensor(features, dtype=torch.float32)
        data = TensorDataset((x - x.mean(0)) / x.std(0), torch.tensor(growers))
        self.train, self.val = random_split(data, [0.8, 0.2], torch.Generator().manual_seed(0))

    def train_dataloader(self):
        return DataLoader(self.train, batch_size=16, shuffle=True)

    def val_dataloader(self):
        return DataLoader(self.val, batch_size=64)

    def test_dataloader(self):
        return self.val_dataloader()


class Grower(L.LightningModule):
    """Tells the grower from the analysis."""

    def __init__(self, width: int = 32, lr: float = 1e-2):
        super().__init__()
        self.save_hyperparameters()
        self.net = nn.Sequential(nn.Linear(13, width), nn.ReLU(), nn.Linear(width, 3))

    def training_step(self, batch, batch_idx):
        x, grower = batch
        return nn.functional.cross_entropy(self.net(x), grower)

    def validation_step(self, batch, batch_idx):
        self.score("val", batch)

    def test_step(self, batch, batch_idx):
        self.score("test", batch)

    def score(self, stage, batch):
        x, grower = batch
        logits = self.net(x)
        self.log(f"{stage}_loss", nn.functional.cross_entropy(logits, grower))
        self.log(f"{stage}_accuracy", (logits.argmax(-1) == grower).float().mean())

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=self.hparams.lr)
