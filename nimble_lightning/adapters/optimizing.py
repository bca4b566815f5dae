"""The trainer's optimizer and schedule: its own, or the configured ones."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import lightning as L
from torch.optim.lr_scheduler import ReduceLROnPlateau

from nimble_lightning.adapters.data import NimbleData
from nimble_lightning.adapters.settings import Settings
from nimble_lightning.adapters.user_trainer import UserTrainer
from nimble_lightning.errors import TrainerError
from nimble_lightning.optim import build_optimizer, build_schedule


@dataclass
class Configured:
    """The optimizer and schedule, in the form Lightning takes, and the metric a plateau schedule follows."""

    for_lightning: Any
    plateau_metric: str = "val_loss"


def configure(user: UserTrainer, settings: Settings, trainer: L.Trainer, accumulate: int) -> Configured:
    own = user.method("configure_optimizers")
    if own is not None:
        return _own(own(), user.name)
    optimizer = build_optimizer(user.modules(), settings.optim, lr=user.get("lr", "learning_rate"))
    if settings.schedule is None:
        return Configured(optimizer)
    schedule = build_schedule(
        optimizer, settings.schedule, total_steps=planned_steps(trainer, accumulate), mode=settings.mode
    )
    interval = "epoch" if isinstance(schedule, ReduceLROnPlateau) else "step"
    described = {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": interval}}
    return Configured(described, settings.monitor or "val_loss")


def planned_steps(trainer: L.Trainer, accumulate: int) -> int | None:
    """Optimizer steps of the whole run; None for a stream without end.

    Our own data is asked directly: Lightning's `estimated_stepping_batches` creates the loaders before a
    resume can place them.
    """
    if not isinstance(trainer.datamodule, NimbleData):
        known = trainer.estimated_stepping_batches
        return None if known == math.inf else int(known)
    limit = trainer.limit_train_batches
    batches = trainer.datamodule.batches_per_epoch() or math.inf
    batches = (
        batches * limit
        if isinstance(limit, float) and batches != math.inf
        else min(batches, limit if isinstance(limit, int) else math.inf)
    )
    epochs = math.inf if trainer.max_epochs in (None, -1) else trainer.max_epochs
    steps = math.ceil(int(batches) / accumulate) * epochs if math.inf not in (batches, epochs) else math.inf
    steps = steps if trainer.max_steps == -1 else min(steps, trainer.max_steps)
    return None if steps == math.inf else int(steps)


def _own(configured: Any, name: str) -> Configured:
    """What the trainer's `configure_optimizers` returned, in any of the forms Lightning knows."""
    optimizers = configured[0] if isinstance(configured, tuple) and len(configured) == 2 else configured
    if isinstance(optimizers, list | tuple) and len(optimizers) != 1:
        raise TrainerError(
            f"{name}.configure_optimizers returned {len(optimizers)} optimizers; train(batch) has one loss, "
            "so expected one. "
            "For several optimizers write a LightningModule and give it as trainer=."
        )
    schedule = configured.get("lr_scheduler") if isinstance(configured, Mapping) else None
    if not isinstance(schedule, Mapping):
        return Configured(configured)
    # Lightning leaves plateau schedules to us, and warns about keys it then ignores.
    kept = {k: v for k, v in schedule.items() if k not in ("monitor", "strict", "reduce_on_plateau")}
    return Configured({**configured, "lr_scheduler": kept}, schedule.get("monitor") or "val_loss")
