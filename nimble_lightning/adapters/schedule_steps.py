"""When the learning rate moves: with each step, each epoch, or each look at the monitored metric."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lightning.pytorch.utilities.types import LRSchedulerConfig
from torch.optim.lr_scheduler import ReduceLROnPlateau

from nimble_lightning.errors import RequestError, TrainerError
from nimble_lightning.ops.metric_names import Mode
from nimble_lightning.ops.objective import Objective, choose


@dataclass(frozen=True)
class Plateau:
    """What a plateau schedule is to follow.

    Attributes:
        monitor: The figure that was asked for.
        mode: Which way is better, if that was asked for.
    """

    monitor: str | None = None
    mode: Mode | None = None


class Scheduling:
    """Steps the schedule, which Lightning leaves to the module under manual optimization.

    Args:
        schedules: The Trainer's; there is at most one.
        plateau: What a plateau schedule follows.
    """

    def __init__(self, schedules: list[LRSchedulerConfig], plateau: Plateau) -> None:
        self._config = schedules[0] if schedules else None
        self._plateau = plateau
        self._objective: Objective | None = None
        self._on_plateau = self._config is not None and isinstance(self._config.scheduler, ReduceLROnPlateau)
        interval = None if self._config is None or self._on_plateau else self._config.interval
        self.by_step, self.by_epoch = interval == "step", interval == "epoch"

    def move(self, count: int) -> None:
        """After that many steps, or epochs, of the run."""
        if self._config is not None and count % self._config.frequency == 0:
            self._config.scheduler.step()  # type: ignore[call-arg]

    def after_validation(self, metrics: Mapping[str, float], higher_is_better: Mapping[str, bool]) -> None:
        schedule = None if self._config is None else self._config.scheduler
        if not isinstance(schedule, ReduceLROnPlateau):
            return
        if self._objective is None:
            self._objective = _followed(schedule, self._plateau, metrics, higher_is_better)
        followed = self._objective.metric
        if followed not in metrics:
            given = ", ".join(metrics) or "nothing"
            raise TrainerError(f"The plateau schedule follows {followed}, and the evaluation gave {given}")
        schedule.step(metrics[followed])


def _followed(
    schedule: ReduceLROnPlateau,
    plateau: Plateau,
    metrics: Mapping[str, float],
    higher_is_better: Mapping[str, bool],
) -> Objective:
    """The figure a schedule follows from now on, knowing which way it is better."""
    try:
        found = choose(metrics, plateau.monitor, plateau.mode, higher_is_better)
        if found is None:
            raise RequestError("The evaluation gave nothing")
        if schedule.mode != found.required_mode:
            schedule._init_is_better(found.required_mode, schedule.threshold, schedule.threshold_mode)
            schedule._reset()
    except RequestError as error:
        raise RequestError(f"The plateau schedule has to know what to follow. {error}") from None
    return found
