"""Commit checkpoints a run can be started again from, and stop at a step when asked to."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.utilities.exceptions import SIGTERMException
from typing_extensions import override

from nimble_lightning.checkpoint import prune
from nimble_lightning.ops.signals import asked

_LOOK_EVERY_SECONDS = 1.0


class AutoRetry(L.Callback):
    """Saves at step boundaries; whoever supervises the process starts it again from the newest whole save.

    Args:
        max_retries: How often a failing run is started again without having made progress.
        save_every_n_steps: Commit a checkpoint after so many optimizer steps.
        save_every_minutes: And after so much time.
        save_every_epoch: And at the end of each epoch.
        keep: How many of the committed checkpoints stay; never fewer than two.

    A file named `save_now` in the Trainer's `default_root_dir`, or SIGUSR1, asks for a save at the next step; SIGTERM for a
    save and an end.
    """

    def __init__(
        self,
        max_retries: int = 3,
        save_every_n_steps: int | None = None,
        save_every_minutes: float | None = 5.0,
        save_every_epoch: bool = True,
        keep: int = 2,
    ) -> None:
        self.max_retries = max_retries
        self.save_every_n_steps = save_every_n_steps
        self.save_every_minutes = save_every_minutes
        self.save_every_epoch = save_every_epoch
        self.keep = max(2, keep)
        self._saved_at = 0
        self._next_save = float("inf")
        self._next_look = 0.0

    @override
    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        if stage == "fit":
            asked.listen()

    @override
    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._saved_at = trainer.global_step
        self._schedule()

    @override
    def on_train_batch_start(self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int) -> None:
        step = trainer.global_step
        save, stop = self._due(trainer, step, batch_idx), asked.stop
        if trainer.world_size > 1:
            save, stop = _anyone(save, trainer), _anyone(stop, trainer)
        if (save or stop) and step > self._saved_at:
            self._commit(trainer, step)
        if stop:
            raise SIGTERMException(143)

    @override
    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.global_step > self._saved_at:
            self._commit(trainer, trainer.global_step)

    def _due(self, trainer: L.Trainer, step: int, batch_idx: int) -> bool:
        if self.save_every_n_steps and step % self.save_every_n_steps == 0:
            return True
        if self.save_every_epoch and batch_idx == 0:
            return True
        now = time.monotonic()
        if now >= self._next_look:
            self._next_look = now + _LOOK_EVERY_SECONDS
            wanted = Path(trainer.default_root_dir) / "save_now"
            if wanted.exists():
                wanted.unlink(missing_ok=True)
                return True
        return asked.save or now >= self._next_save

    def _commit(self, trainer: L.Trainer, step: int) -> None:
        folder = Path(trainer.default_root_dir) / "checkpoints" / "steps"
        trainer.save_checkpoint(folder / f"step-{step:08d}.ckpt")
        self._saved_at, asked.save = step, False
        self._schedule()
        if trainer.is_global_zero:
            prune(folder, keep=self.keep)

    def _schedule(self) -> None:
        if self.save_every_minutes is not None:
            self._next_save = time.monotonic() + 60 * self.save_every_minutes


def _anyone(mine: bool, trainer: L.Trainer) -> bool:
    vote = torch.tensor(float(mine), device=trainer.strategy.root_device)
    torch.distributed.all_reduce(vote)
    return bool(vote.item())
