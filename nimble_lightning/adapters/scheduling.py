"""When the learning rate moves: with each step, each epoch, or each look at the monitored metric."""

from __future__ import annotations

from collections.abc import Mapping

from lightning.pytorch.utilities.types import LRSchedulerConfig
from torch.optim.lr_scheduler import ReduceLROnPlateau

from nimble_lightning.errors import TrainerError


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
        interval = None if self._config is None or self._on_plateau else self._config.interval
        self.by_step, self.by_epoch = interval == "step", interval == "epoch"

    def move(self, count: int) -> None:
        """After that many steps, or epochs, of the run."""
        if self._config is not None and count % self._config.frequency == 0:
            self._config.scheduler.step()  # type: ignore[call-arg]

    def after_validation(self, metrics: Mapping[str, float]) -> None:
        if self._config is None or not self._on_plateau:
            return
        if self._plateau_metric not in metrics:
            raise TrainerError(
                f"The schedule follows {self._plateau_metric}, and the evaluation gave "
                f"{', '.join(metrics) or 'nothing'}. Type monitor=NAME, or return it with the schedule."
            )
        self._config.scheduler.step(metrics[self._plateau_metric])  # type: ignore[arg-type]
