"""The trainer's optimizer and schedule: its own, or the configured ones."""

from __future__ import annotations

import math
from typing import Any

import lightning as L
from torch.optim.lr_scheduler import ReduceLROnPlateau

from nimble_lightning.adapters.data import NimbleData
from nimble_lightning.adapters.settings import Settings
from nimble_lightning.adapters.user_trainer import UserTrainer
from nimble_lightning.errors import TrainerError
from nimble_lightning.optim import build_optimizer, build_schedule


def configure(user: UserTrainer, settings: Settings, trainer: L.Trainer, accumulate: int) -> Any:
    """What `LightningModule.configure_optimizers` returns."""
    own = user.method("configure_optimizers")
    if own is not None:
        return _only_one(own(), user.name)
    optimizer = build_optimizer(user.modules(), settings.optim, lr=user.get("lr", "learning_rate"))
    if settings.schedule is None:
        return optimizer
    schedule = build_schedule(optimizer, settings.schedule, total_steps=planned_steps(trainer, accumulate), mode=settings.mode)
    kind = {"reduce_on_plateau": True, "monitor": settings.monitor or "val_loss", "interval": "epoch"}
    return {
        "optimizer": optimizer,
        "lr_scheduler": {"scheduler": schedule, **(kind if isinstance(schedule, ReduceLROnPlateau) else {"interval": "step"})},
    }


def planned_steps(trainer: L.Trainer, accumulate: int) -> int | None:
    """Optimizer steps of the whole run; None for a stream without end.

    Our own data is asked directly: Lightning's `estimated_stepping_batches` creates the loaders before a resume can place them.
    """
    if not isinstance(trainer.datamodule, NimbleData):
        known = trainer.estimated_stepping_batches
        return None if known == math.inf else int(known)
    limit = trainer.limit_train_batches
    batches = trainer.datamodule.batches_per_epoch() or math.inf
    batches = batches * limit if isinstance(limit, float) and batches != math.inf else min(batches, limit if isinstance(limit, int) else math.inf)
    epochs = math.inf if trainer.max_epochs in (None, -1) else trainer.max_epochs
    steps = math.ceil(int(batches) / accumulate) * epochs if math.inf not in (batches, epochs) else math.inf
    steps = steps if trainer.max_steps == -1 else min(steps, trainer.max_steps)
    return None if steps == math.inf else int(steps)


def _only_one(configured: Any, name: str) -> Any:
    optimizers = configured[0] if isinstance(configured, tuple) and len(configured) == 2 else configured
    if isinstance(optimizers, list | tuple) and len(optimizers) != 1:
        raise TrainerError(
            f"{name}.configure_optimizers returned {len(optimizers)} optimizers; train(batch) has one loss, so expected one. "
            "For several optimizers write a LightningModule and give it as trainer=."
        )
    return configured
