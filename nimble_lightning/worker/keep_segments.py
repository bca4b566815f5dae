"""Commits from anywhere in a run, kept in pairs so that others can train the steps between them again."""

from __future__ import annotations

import logging
import os
import random
import shutil
from pathlib import Path
from typing import Any

import lightning as L
from typing_extensions import override

from nimble_lightning.checkpoint.file_names import manifest_path
from nimble_lightning.checkpoint.retention import committed
from nimble_lightning.run_folder import RunFolder

log = logging.getLogger(__name__)


class KeepStretches(L.Callback):
    """Keeps some pairs of neighbouring commits, each pair of the run with the same chance.

    A kept commit is a second name for the same file: it takes no room until the first name goes.

    Args:
        folder: Of the run.
        count: How many pairs.
    """

    def __init__(self, folder: RunFolder, count: int) -> None:
        self._steps = folder.steps
        self._kept = folder.stretches
        self._count = count
        self._seen = 0
        self._last = -1
        self._due = False
        # Not the run's own random numbers: those would be others without a signature.
        self._chance = random.SystemRandom()

    @override
    def on_save_checkpoint(
        self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        self._due = True

    @override
    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if self._due and trainer.is_global_zero:
            self._due = False
            self._look()

    @override
    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.is_global_zero:
            self._look()

    @override
    def state_dict(self) -> dict[str, Any]:
        return {"seen": self._seen}

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._seen = state_dict["seen"]

    def _look(self) -> None:
        """Decide about the newest pair, the first time it is seen."""
        found = committed(self._steps)
        if len(found) < 2 or found[-1][1].step == self._last:
            return
        self._last, self._seen = found[-1][1].step, self._seen + 1
        slot = self._seen - 1 if self._seen <= self._count else self._chance.randrange(self._seen)
        if slot < self._count:
            try:
                _keep([path for path, _ in found[-2:]], self._kept / str(slot))
            except OSError as error:
                log.warning("steps %d to %d could not be kept: %s", found[-2][1].step, self._last, error)


def _keep(paths: list[Path], place: Path) -> None:
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(mode=0o700, parents=True)
    for path in paths:
        if path.is_dir():
            shutil.copytree(path, place / path.name, copy_function=os.link)
            continue
        for file in (path, manifest_path(path)):
            os.link(file, place / file.name)
