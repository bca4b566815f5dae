"""The task everyone trains: a small classifier, so that what is measured is what stands around it."""

from __future__ import annotations

import time
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from nimble_lightning import NimbleTrainer

FEATURES, HIDDEN, CLASSES = 64, 128, 10
BATCH, LR = 32, 1e-3
BATCHES_PER_EPOCH = 1000


def make_data(batches: int = BATCHES_PER_EPOCH) -> tuple[Tensor, Tensor]:
    """Samples labelled by a fixed random network, so that there is something to learn."""
    generator = torch.Generator().manual_seed(0)
    teacher = torch.randn(FEATURES, CLASSES, generator=generator)
    x = torch.randn(batches * BATCH, FEATURES, generator=generator)
    return x, (x @ teacher).argmax(-1)


def make_model() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(FEATURES, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, CLASSES))


def loss_of(model: nn.Module, x: Tensor, y: Tensor, step_seconds: float = 0.0) -> Tensor:
    """The loss; with `step_seconds` the step takes at least that long, as one of a larger model would."""
    until = time.perf_counter() + step_seconds
    loss = cross_entropy(model(x), y)
    while time.perf_counter() < until:
        pass
    return loss


@torch.no_grad()
def final_loss(model: nn.Module) -> float:
    """What was learned, on all samples; about 2.3 before training."""
    x, y = make_data()
    return float(cross_entropy(model(x), y))


class Small(NimbleTrainer):
    """The task from four methods."""

    def pre_process(self, *, batches: int = BATCHES_PER_EPOCH, step_seconds: float = 0.0) -> None:
        self.step_seconds = step_seconds
        self.lr = LR
        self.train_data = make_data(batches)
        self.model = make_model()

    def train(self, batch: Any) -> Tensor:
        x, y = batch
        return loss_of(self.model, x, y, self.step_seconds)
