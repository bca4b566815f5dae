"""The callback that ends a run at a given step, with everything that is to be compared left behind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L
import torch
from typing_extensions import override

from nimble_lightning.ops.run_files import write_json
from nimble_lightning.proof import optimizer_settings
from nimble_lightning.worker import provenance

CHECKPOINT = "replayed.ckpt"
FACTS = "replayed.json"

_ENDED = 1


class SegmentEnd(L.Callback):
    """Trains up to a step as the run did, saves, and ends the process there.

    Args:
        folder: Where the checkpoint and the facts go.
        until: The step.
        threads: How many torch uses; the bits of a CPU depend on it.
    """

    def __init__(self, folder: str, until: int, threads: int) -> None:
        self._folder = Path(folder)
        self._until = until
        self._threads = threads
        self._made: dict[str, Any] = {}

    @override
    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        torch.set_num_threads(self._threads)

    @override
    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        # Optimizers are made by now, and the checkpoint is not yet restored into them.
        self._made = self._settings(trainer)

    @override
    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.is_global_zero:
            restored = self._settings(trainer)
            facts = {
                "changed": optimizer_settings.changed(self._made, restored) if trainer.ckpt_path else [],
                "data": provenance.fingerprints(trainer, pl_module),
                "hardware": provenance.hardware(trainer),
            }
            write_json(self._folder / FACTS, facts)

    @override
    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if trainer.global_step >= self._until:
            self._end(trainer)

    @override
    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._end(trainer)

    def _end(self, trainer: L.Trainer) -> None:
        trainer.save_checkpoint(self._folder / CHECKPOINT)
        # Not 0: torchelastic waits for what a process that ended well returns.
        raise SystemExit(_ENDED)

    @staticmethod
    def _settings(trainer: L.Trainer) -> dict[str, Any]:
        return optimizer_settings.snapshot(
            trainer.optimizers, [c.scheduler for c in trainer.lr_scheduler_configs]
        )
