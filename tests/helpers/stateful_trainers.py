"""Trainers whose training depends on what they, their data or their optimizer remember beside the weights."""

from __future__ import annotations

import datetime
import random
import threading
from collections import Counter, deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from torch.nn.functional import mse_loss
from torch.utils.data import DataLoader, Dataset, IterableDataset, Sampler

from nimble_lightning.trainer import NimbleTrainer

COUNT, BATCH = 22, 4


class Noise:
    """As a library's transform: a generator within an object within a list."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return x + 0.3 * float(self.rng.random())


class Chain:
    __slots__ = ("steps",)

    def __init__(self, *steps: Noise) -> None:
        self.steps = list(steps)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        for step in self.steps:
            x = step(x)
        return x


class Rows(Dataset[Any]):
    def __init__(self) -> None:
        self.x = torch.randn(COUNT, 3, generator=torch.Generator().manual_seed(1))
        self.augment = Chain(Noise(1), Noise(2))
        self.python = random.Random(3)

    def __len__(self) -> int:
        return COUNT

    def __getitem__(self, index: int) -> Any:
        return self.augment(self.x[index]), self.x[index].sum() + self.python.random()


class Stream(IterableDataset[Any]):
    def __init__(self) -> None:
        self.rows = Rows()
        self.torch = torch.Generator().manual_seed(5)

    def __iter__(self) -> Iterator[Any]:
        for index in torch.randperm(COUNT, generator=self.torch).tolist():
            yield self.rows[index]


class Order(Sampler[int]):
    def __init__(self) -> None:
        self.rng = np.random.RandomState(7)

    def __len__(self) -> int:
        return COUNT

    def __iter__(self) -> Iterator[int]:
        return iter(self.rng.permutation(COUNT).tolist())


class Collate:
    def __init__(self) -> None:
        self.rng = np.random.default_rng(9)

    def __call__(self, samples: list[Any]) -> Any:
        x, y = (torch.stack(column) for column in zip(*samples, strict=True))
        return x + float(self.rng.random()), y


class Buffer:
    """Tells its state itself, for which it would be taken by nothing else."""

    def __init__(self) -> None:
        self.handle = threading.Lock()
        self.kept = 0.0

    def state_dict(self) -> dict[str, float]:
        return {"kept": self.kept}

    def load_state_dict(self, state: dict[str, float]) -> None:
        self.kept = state["kept"]


class Wobbling(torch.optim.SGD):
    """An optimizer that remembers more than it says in its state."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.calls = 0
        self.rng = np.random.default_rng(4)

    def step(self, closure: Any = None) -> Any:
        self.calls += 1
        for group in self.param_groups:
            group["lr"] = 0.01 + 0.001 * self.calls * float(self.rng.random())
        return super().step(closure)


class Memory:
    """Everything that can be remembered in attributes, with a number that depends on all of it."""

    def __init__(self) -> None:
        self.numpy = np.random.Generator(np.random.Philox(1))
        self.old = np.random.RandomState(2)
        self.python = random.Random(3)
        self.torch = torch.Generator().manual_seed(4)
        self.count = 0
        self.history: list[float] = []
        self.same = self.history
        self.last: deque[Any] = deque(maxlen=3)
        self.seen: Counter[str] = Counter()
        self.nested: dict[str, Any] = {"a": [{1: (0.0,)}], "path": Path("/")}
        self.mean = self.first = torch.zeros(2)
        self.table = np.zeros((3, 2), np.float32)
        self.started = datetime.timedelta()
        self.buffer = Buffer()

    def __call__(self, loss: float) -> float:
        drawn = float(self.numpy.random()) + self.old.rand() + self.python.random()
        drawn += float(torch.rand((), generator=self.torch))
        self.count += 1
        self.history.append(drawn)
        self.last.append(torch.tensor([loss, drawn]))
        self.seen[str(self.count % 3)] += 1
        self.nested["a"][0][1] = (*self.nested["a"][0][1], drawn)
        self.mean = 0.9 * self.mean + 0.1 * drawn
        self.table[self.count % 3] += drawn
        self.started += datetime.timedelta(seconds=self.count)
        self.buffer.kept += drawn
        assert self.same is self.history
        assert not self.first.any()
        parts = [self.count, sum(self.same), float(sum(self.last).sum()), self.seen["1"]]
        parts += [sum(self.nested["a"][0][1]), float(self.mean.sum()), float(self.table.sum())]
        return 0.01 * sum([*parts, self.started.total_seconds(), self.buffer.kept])


class Remembering(NimbleTrainer):
    """Its own attributes, in `Memory` and beside it, are in every loss."""

    def pre_process(self, *, data: str = "rows", workers: int = 0) -> None:
        self.train_data = {
            "tensors": lambda: (torch.arange(COUNT * 3.0).reshape(COUNT, 3) / 50, torch.ones(COUNT)),
            "rows": Rows,
            "stream": Stream,
            "sampler": lambda: DataLoader(Rows(), BATCH, sampler=Order(), num_workers=workers),
            "collate": lambda: DataLoader(Rows(), BATCH, collate_fn=Collate(), num_workers=workers),
        }[data]()
        self.model = torch.nn.Linear(3, 1)
        self.memory = Memory()
        self.count = 0
        self.rng = self.memory.numpy

    def train(self, batch: Any) -> torch.Tensor:
        x, y = batch
        loss = mse_loss(self.model(x.float()).squeeze(1), y.float())
        self.count += 1
        return loss * (1 + self.memory(loss.item()) + 0.01 * self.count + float(self.rng.random()))

    def configure_optimizers(self) -> Any:
        return Wobbling(self.model.parameters(), 0.01)


class Collating(Remembering):
    """A collate function that draws from the generator which training draws from."""

    def collate(self, samples: list[Any]) -> Any:
        x, y = (torch.stack(column) for column in zip(*samples, strict=True))
        return x + float(self.rng.random()), y


class RememberingModule(L.LightningModule):
    """The same in somebody's own LightningModule, with their datamodule."""

    def __init__(self) -> None:
        super().__init__()
        self.model = torch.nn.Linear(3, 1)
        self.memory = Memory()
        self.register_buffer("unsaved", torch.zeros(()), persistent=False)

    def on_train_start(self) -> None:
        self.begun: list[int] = []

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        x, y = batch
        loss = mse_loss(self.model(x).squeeze(1), y)
        self.begun.append(batch_idx)
        self.unsaved += 1
        self.trainer.datamodule.count += 1
        mine = 0.01 * (len(self.begun) + self.unsaved + self.trainer.datamodule.count)
        return loss * (1 + self.memory(loss.item()) + mine)

    def configure_optimizers(self) -> Any:
        return Wobbling(self.parameters(), 0.01)


class RowsModule(L.LightningDataModule):
    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def train_dataloader(self) -> Any:
        return DataLoader(Rows(), BATCH, shuffle=True)
