"""The callback that writes a worker's heartbeat; every supervised run has it."""

from __future__ import annotations

from typing import Any

import lightning as L
from typing_extensions import override

from nimble_lightning.ops.signals import asked
from nimble_lightning.runs.heartbeat import Heart, Phase


class HeartbeatCallback(L.Callback):
    """One beat for each batch that is done; during a save, and before first batches, patience is asked for.

    Whenever Lightning starts something it puts a handler for SIGTERM in front of ours that begins a
    collective, and so waits for ranks which were not told; ours is put back.
    """

    def __init__(self, heart: Heart) -> None:
        self._heart = heart
        self._validated = False

    @override
    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        save = trainer.save_checkpoint

        def patiently(*args: Any, **options: Any) -> None:
            before = self._heart.phase
            self._heart.beat(trainer.global_step, Phase.SAVING)
            try:
                save(*args, **options)
            finally:
                self._heart.beat(trainer.global_step, before)

        if stage == "fit":
            trainer.save_checkpoint = patiently  # type: ignore[method-assign]

    @override
    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        asked.obey()
        self._heart.beat(trainer.global_step, Phase.STARTING)

    @override
    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._heart.beat(trainer.global_step, Phase.TRAINING)

    @override
    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        asked.obey()
        # The first evaluation may have to compile, or to fetch its data.
        self._heart.beat(trainer.global_step, Phase.VALIDATING if self._validated else Phase.STARTING)

    @override
    def on_validation_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        self._validated = True
        self._heart.beat(trainer.global_step, Phase.VALIDATING)

    @override
    def on_test_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        asked.obey()

    @override
    def on_test_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        self._heart.beat(trainer.global_step, Phase.ENDING)

    @override
    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._heart.beat(trainer.global_step, Phase.ENDING)
