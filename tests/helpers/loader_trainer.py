"""The tiny trainer with data that processes of their own load."""

from __future__ import annotations

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
    def pre_process(self, *, step_seconds: float = 0.0) -> None:  # type: ignore[override]
        super().pre_process(step_seconds=step_seconds)
        self.train_data = Samples(*self.train_data)
