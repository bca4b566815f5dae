"""Loaders as projects have them, and a module that notes what it is given; for both packages of Lightning."""

from __future__ import annotations

import random
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset, RandomSampler, WeightedRandomSampler

SAMPLES = 22


def of_seed(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class Augmented(Dataset[Any]):
    """Draws from every global generator and from one of its own."""

    def __init__(self) -> None:
        self.x = torch.randn(SAMPLES, 3, generator=of_seed(1))
        self.own = np.random.default_rng(5)

    def __len__(self) -> int:
        return SAMPLES

    def __getitem__(self, index: int) -> Any:
        noise = torch.rand(3) + random.random() + float(np.random.randn()) + float(self.own.random())
        return index, self.x[index] + 0.1 * noise, self.x[index].sum()


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Iterator[Any]:
        samples = Augmented()
        return (samples[index] for index in torch.randperm(SAMPLES).tolist())


class Doubling(DataLoader[Any]):
    """A class with an iteration of its own."""

    def __iter__(self) -> Any:
        for index, x, y in super().__iter__():
            yield index, 2 * x, y


def loaders(kind: str, workers: int = 0) -> Any:
    """What `fit` is given."""
    data = Augmented()
    more: dict[str, Any] = {"num_workers": workers, "persistent_workers": "alive" in kind} if workers else {}
    if kind == "generator":
        more["generator"] = of_seed(3)
    if kind == "stream":
        return DataLoader(Stream(), 4, **more)
    if kind == "weighted":
        sampler: Any = WeightedRandomSampler(torch.rand(SAMPLES, generator=of_seed(3)).tolist(), SAMPLES)
        return DataLoader(data, 4, sampler=sampler, **more)
    if kind == "replacement":
        return DataLoader(data, 4, sampler=RandomSampler(data, replacement=True, num_samples=24), **more)
    if kind == "two":
        return {"one": DataLoader(data, 4, shuffle=True), "other": DataLoader(Augmented(), 4, shuffle=True)}
    return (Doubling if kind == "own class" else DataLoader)(data, 4, shuffle=True, **more)


class Cut(Exception):
    """Stands for a kill."""


def fit(
    package: str,
    given: Any,
    callbacks: list[Any],
    *,
    save: tuple[int, str] | None = None,
    resume: str | None = None,
    seed: int = 0,
    **options: Any,
) -> tuple[list[Any], bytes]:
    """Train three epochs; what was seen and the weights.

    Args:
        package: Whose Trainer and module.
        given: The training data.
        callbacks: Of the Trainer.
        save: After so many steps, where to; two steps later it is killed.
        resume: From this checkpoint, in a process that was seeded otherwise.
        seed: Of the global generators.
        options: Of the Trainer.
    """
    pl = import_module(package)

    class Module(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.seen: list[Any] = []
            parts = torch.nn.Linear(3, 8), torch.nn.Dropout(0.3), torch.nn.Linear(8, 1)
            self.net = torch.nn.Sequential(*parts)

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            index, x, y = batch["one"] if isinstance(batch, dict) else batch
            self.seen.append(index.tolist())
            return (self.net(x.float() + 0.01 * random.random()).squeeze(1) - y).square().mean()

        def validation_step(self, batch: Any, batch_idx: int) -> None:
            self.seen.append("validation")

        def configure_optimizers(self) -> Any:
            return torch.optim.Adam(self.parameters(), 0.01)

    class Saver(pl.Callback):
        def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
            assert save is not None
            if trainer.global_step == save[0]:
                trainer.save_checkpoint(save[1], weights_only=False)
            elif trainer.global_step == save[0] + 2:
                raise Cut

    torch.manual_seed(7)
    module = Module()
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    few = {"accelerator": "cpu", "max_epochs": 3, "enable_checkpointing": False}
    callbacks = [*callbacks, *([Saver()] if save else [])]
    trainer = pl.Trainer(**{**quiet, **few, "callbacks": callbacks, **options})
    validation = DataLoader(Augmented(), 11)
    try:
        trainer.fit(module, given, validation, ckpt_path=resume, weights_only=True if resume else None)
    except Cut:
        assert save is not None
    return module.seen, b"".join(p.detach().numpy().tobytes() for p in module.parameters())
