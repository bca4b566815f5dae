"""When the learning rate moves: with each step, each epoch, or each look at the monitored metric."""

from __future__ import annotations

from collections.abc import Mapping

from lightning.pytorch.utilities.types import LRSchedulerConfig
from torch.optim.lr_scheduler import ReduceLROnPlateau


class Scheduling:
    """Steps the schedule, which Lightning leaves to the module under manual optimization.

    Args:
        schedules: The Trainer's; there is at most one.
        plateau_metric: What a plateau schedule follows.
    """

    def __init__(self, schedules: list[LRSchedulerConfig], plateau_metric: str) -> None:
        self._config = schedules[0] if schedules else None
        self._plateau_metric = plateau_metric
        self._on_plateau = self._config is not None and isinstance(self._config.scheduler, ReduceLROnPlateau)

    def after_step(self) -> None:
        if self._config is not None and self._config.interval == "step" and not self._on_plateau:
            self._config.scheduler.step()  # type: ignore[call-arg]

    def after_epoch(self, epoch: int) -> None:
        config = self._config
        if config is None or config.interval != "epoch" or self._on_plateau:
            return
        if (epoch + 1) % config.frequency == 0:
            config.scheduler.step()  # type: ignore[call-arg]

    def after_validation(self, metrics: Mapping[str, float]) -> None:
        if self._config is not None and self._on_plateau and self._plateau_metric in metrics:
            self._config.scheduler.step(metrics[self._plateau_metric])  # type: ignore[arg-type]
