"""A trainer whose `compute_metrics` gets all predictions, and an evaluation of it on any number of ranks."""

from __future__ import annotations

from typing import Any

import lightning as L
import numpy as np
import torch

import nimble_lightning as nl
from nimble_lightning.settings import DataSettings, RunSettings


class Predicting(nl.NimbleTrainer):
    """A model that is not trained far; what it predicts is what counts."""

    def pre_process(self, *, rows: int = 33, sets: bool = False) -> None:
        x = torch.linspace(-2, 3, rows)[:, None]
        y = (x[:, 0] * 7).long() % 2
        self.train_data = (x, y)
        self.eval_data = {"near": (x, y), "far": (x[: rows // 3] + 5, y[: rows // 3])} if sets else (x, y)
        torch.manual_seed(1)
        self.model = torch.nn.Linear(1, 2)

    def train(self, batch: Any) -> Any:
        return torch.nn.functional.cross_entropy(self.model(batch[0]), batch[1])

    def evaluate(self, batch: Any) -> Any:
        x, y = batch
        return {"logits": self.model(x), "labels": y, "mean": (self.model(x).argmax(-1) == y)}

    def compute_metrics(self, eval_pred: Any) -> dict[str, Any]:
        logits, labels = eval_pred
        right = logits.argmax(-1) == labels
        return {
            "rows": len(labels),
            "accuracy": np.float32(right.mean()),
            "order": float(logits[:, 0] @ np.arange(len(labels))),
        }


def evaluated_on(devices: int = 1, **params: Any) -> dict[str, float]:
    settings = RunSettings(data=DataSettings(batch_size=4))
    module, data = nl.adapt(Predicting, settings=settings, **params)
    fit = L.Trainer(
        accelerator="cpu", devices=devices, strategy="ddp" if devices > 1 else "auto", logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        use_distributed_sampler=False,
    )  # fmt: skip
    fit.validate(module, datamodule=data, verbose=False)
    return {name: float(value) for name, value in fit.callback_metrics.items()}
