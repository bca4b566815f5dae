"""The tiny trainer with data that processes of their own load."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.utils.data import Dataset

from nimble_lightning.testing.tiny import TinyTrainer


class Samples(Dataset[tuple[Tensor, Tensor]]):
    def __init__(self, points: Tensor, labels: Tensor) -> None:
        self.points, self.labels = points, labels

    def __len__(self) -> int:
        return len(self.points)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.points[index], self.labels[index]


class Loaded(TinyTrainer):
    def pre_process(self, **params: Any) -> None:
        super().pre_process(**params)
        self.train_data = Samples(*self.train_data)
