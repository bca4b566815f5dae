"""Random numbers: others on every rank, but the same on ranks that share a layer, which drop out the same."""

from __future__ import annotations

import random

import lightning as L
import numpy as np
import torch
from typing_extensions import override

from nimble_lightning.ranks import share_of_data


def seed_all(seed: int) -> None:
    """Seed Python, numpy and torch.

    Unlike Lightning's `seed_everything`, this leaves no trace in the environment.
    """
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


class Seeding(L.Callback):
    """As soon as it is known which ranks work on the same samples."""

    def __init__(self, seed: int) -> None:
        self._seed = seed

    @override
    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        if stage == "fit":
            seed_all(self._seed + share_of_data(trainer.strategy)[0])
