"""A callback's own checkpoints, whole or absent in anybody's project."""

from __future__ import annotations

from typing import Any

import lightning as L
from lightning.fabric.plugins import TorchCheckpointIO

from nimble_lightning.checkpoint import NimbleCheckpointIO
from nimble_lightning.checkpoint.sharded_strategies import Shards


class AtomicCheckpoints:
    """While it is entered the trainer saves and loads as we do; what a project saves stays Lightning's.

    A checkpoint plugin that was chosen on purpose stays in any case.
    """

    def __init__(self, trainer: L.Trainer) -> None:
        self._strategy = trainer.strategy
        self._io = NimbleCheckpointIO()
        self._theirs: Any = None
        self._shards = Shards.of(trainer.strategy)

    def __enter__(self) -> None:
        self._theirs = self._strategy.checkpoint_io
        if type(self._theirs) is TorchCheckpointIO:
            self._strategy.checkpoint_io = self._io
        if self._shards is not None:
            self._shards.stand_before()

    def __exit__(self, *_: object) -> None:
        self._strategy.checkpoint_io = self._theirs
        if self._shards is not None:
            self._shards.step_aside()
