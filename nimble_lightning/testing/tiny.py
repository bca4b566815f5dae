"""A trainer whose whole run takes a second, for rehearsals."""

from __future__ import annotations

import time
from typing import Any

import torch
from torch import Tensor, nn

from nimble_lightning.trainer import NimbleTrainer


class TinyTrainer(NimbleTrainer):
    """Tells three clusters of points apart, with dropout: a resume that forgets random numbers is noticed.

    Example::

        nl.run("nimble_lightning.testing.tiny:TinyTrainer", lightning={"max_epochs": 2})
    """

    def pre_process(
        self, *, samples: int = 96, hidden: int = 16, lr: float = 1e-2, step_seconds: float = 0.0
    ) -> None:
        """Make the data and the model.

        Args:
            samples: How many are trained on; a third as many are evaluated.
            hidden: Width of the hidden layer.
            lr: Learning rate.
            step_seconds: How long a step pretends to take.
        """
        generator = torch.Generator().manual_seed(20)
        centres = torch.randn(3, 8, generator=generator)
        count = samples + samples // 3
        labels = torch.arange(count) % 3
        points = centres[labels] + torch.randn(count, 8, generator=generator)
        self.train_data = (points[:samples], labels[:samples])
        self.eval_data = (points[samples:], labels[samples:])
        self.model = nn.Sequential(nn.Linear(8, hidden), nn.ReLU(), nn.Dropout(0.2), nn.Linear(hidden, 3))
        self.lr = lr
        self.step_seconds = step_seconds

    def train(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        """The loss of a batch."""
        points, labels = batch
        if self.step_seconds:
            time.sleep(self.step_seconds)
        return nn.functional.cross_entropy(self.model(points), labels)

    def evaluate(self, batch: tuple[Tensor, Tensor]) -> dict[str, Any]:
        """Which samples are told right, and the loss of each."""
        points, labels = batch
        scores = self.model(points)
        right = scores.argmax(-1) == labels
        return {"accuracy": right, "loss": nn.functional.cross_entropy(scores, labels, reduction="none")}
