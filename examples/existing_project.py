"""An ordinary Lightning script that gains a progress line, exact resume and best weights by naming callbacks.

    python examples/existing_project.py

The module, the data, the Trainer and `fit` are plain Lightning. Run it again and it goes on from the newest
checkpoint.
"""

from __future__ import annotations

from pathlib import Path

import lightning as L
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, random_split

from nimble_lightning.callbacks import AutoRetry, BestCheckpoint, ExactResume, Progress
from nimble_lightning.checkpoint import NimbleCheckpointIO, newest_whole
from nimble_lightning.loggers import JSONLLogger

FOLDER = Path("outputs/existing_project")


class Regression(L.LightningModule):
    """A LightningModule as any project has one."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(4, 32), nn.Tanh(), nn.Linear(32, 1))

    def training_step(self, batch, batch_idx):
        loss = self.error(batch)
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch, batch_idx):
        self.log("val_loss", self.error(batch))

    def error(self, batch):
        x, y = batch
        return nn.functional.mse_loss(self.net(x).squeeze(-1), y)

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=1e-2)


def waves():
    """Points of a sine to fit, split into those to train on and those to evaluate."""
    x = torch.rand(2048, 4, generator=torch.Generator().manual_seed(0))
    return random_split(TensorDataset(x, torch.sin(3 * x).sum(-1)), [1792, 256])


def main():
    """Train with a plain Lightning Trainer and four of our callbacks."""
    L.seed_everything(0)
    train, val = waves()
    trainer = L.Trainer(
        max_epochs=5,
        accelerator="cpu",
        default_root_dir=FOLDER,
        callbacks=[
            Progress(),
            AutoRetry(save_every_n_steps=50),
            ExactResume(),
            BestCheckpoint(monitor="val_loss"),
        ],
        logger=JSONLLogger(FOLDER),
        plugins=[NimbleCheckpointIO()],
        enable_model_summary=False,
    )
    found = newest_whole(FOLDER / "checkpoints")
    trainer.fit(
        Regression(),
        DataLoader(train, batch_size=32, shuffle=True),
        DataLoader(val, batch_size=256),
        ckpt_path=found.path if found else None,
        weights_only=True,
    )
    print("best checkpoint:", trainer.checkpoint_callback.best_model_path)


if __name__ == "__main__":
    main()
