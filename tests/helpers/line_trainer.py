"""The smallest trainer that learns something, and fits of it under a Lightning trainer that is quiet."""

from __future__ import annotations

from typing import Any

import lightning as L
import torch

from nimble_lightning import adapt
from nimble_lightning.settings import DataSettings, RunSettings
from nimble_lightning.trainer import NimbleTrainer


class Line(NimbleTrainer):
    """y = 2x, learned by one weight."""

    def pre_process(self, *, samples: int = 12) -> None:
        x = torch.linspace(-1, 1, samples)[:, None]
        self.train_data = {"x": x, "y": 2 * x}
        self.eval_data = (x, 2 * x)
        self.model = torch.nn.Linear(1, 1, bias=False)
        torch.nn.init.zeros_(self.model.weight)
        self.lr = 0.1

    def train(self, batch: Any) -> torch.Tensor:
        return (self.model(batch["x"]) - batch["y"]).square().mean()

    def evaluate(self, batch: Any) -> Any:
        x, y = batch
        return {
            "near": ((self.model(x) - y).abs() < 0.1).squeeze(1),
            "loss": (self.model(x) - y).square().mean(),
        }


def trainer(**options: Any) -> L.Trainer:
    quiet = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    return L.Trainer(accelerator="cpu", **{**quiet, "max_epochs": 2, **options})


def fitted(user: Any, settings: RunSettings | None = None, **options: Any) -> tuple[Any, L.Trainer]:
    module, data = adapt(user, settings=settings or RunSettings(data=DataSettings(batch_size=4)))
    lightning = trainer(**options)
    lightning.fit(module, datamodule=data)
    return module, lightning
