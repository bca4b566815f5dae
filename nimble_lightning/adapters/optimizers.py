"""The trainer's optimizer and schedule: its own, or the configured ones, and when the rate moves."""

from __future__ import annotations

import inspect
import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import lightning as L
from lightning.fabric.utilities.types import Optimizable
from lightning.pytorch.utilities.types import LRSchedulerConfig
from torch.optim.lr_scheduler import ReduceLROnPlateau

from nimble_lightning.adapters.data_module import NimbleData
from nimble_lightning.adapters.fit_limits import end_within_epoch
from nimble_lightning.adapters.user_trainer import UserTrainer
from nimble_lightning.errors import RequestError, TrainerError
from nimble_lightning.ops.metric_names import Mode
from nimble_lightning.ops.objective import Objective, choose
from nimble_lightning.optim import build_optimizer, build_schedule
from nimble_lightning.settings import RunSettings

log = logging.getLogger(__name__)

# Where nobody has chosen one.
_OPTIMIZER = {"_target_": "torch.optim.AdamW"}
_DESCRIBED = '{"optimizer": ..., "lr_scheduler": {"scheduler": ..., "interval": "step"}}'
_FORMS = f"an optimizer; optimizer, schedule; [optimizer], [schedule]; or {_DESCRIBED}"
_KEYS = {"scheduler", "interval", "frequency", "monitor", "strict", "name", "reduce_on_plateau"}
_INTERVALS = {
    "step": ("a step", "what transformers does with optimizer, schedule"),
    "epoch": ("an epoch", "what Lightning does where no interval is given"),
}


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


@dataclass
class Configured:
    """The optimizer and schedule, in the form Lightning takes, and what a plateau schedule follows."""

    for_lightning: Any
    plateau: Plateau = Plateau()


def configure(user: UserTrainer, settings: RunSettings, trainer: L.Trainer, accumulate: int) -> Configured:
    """The optimizer and schedule of a run: those the user configures, or those its settings name."""
    epochs = settings.lightning.get("max_epochs")
    end_within_epoch(trainer, epochs, partial(steps_per_epoch, trainer, accumulate))
    own = user.method("configure_optimizers")
    if own is not None:
        return _own(own(), f"{user.name}.configure_optimizers", settings.monitor)
    optimizer = build_optimizer(
        user.modules(), settings.optim or _OPTIMIZER, lr=user.get("lr", "learning_rate")
    )
    require_one_pass(optimizer, "optim")
    if settings.schedule is None:
        return Configured(optimizer)
    schedule = build_schedule(
        optimizer, settings.schedule, total_steps=planned_steps(trainer, accumulate), mode=settings.mode
    )
    interval = "epoch" if isinstance(schedule, ReduceLROnPlateau) else "step"
    described = {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": interval}}
    return Configured(described, Plateau(settings.monitor, settings.schedule.get("mode") or settings.mode))


def planned_steps(trainer: L.Trainer, accumulate: int) -> int | None:
    """Optimizer steps of the whole run; None for a stream without end.

    Our own data is asked directly: Lightning's `estimated_stepping_batches` creates the loaders before a
    resume can place them.
    """
    if not isinstance(trainer.datamodule, NimbleData):
        known = trainer.estimated_stepping_batches
        return None if known == math.inf else int(known)
    an_epoch = steps_per_epoch(trainer, accumulate)
    epochs = math.inf if trainer.max_epochs in (None, -1) else trainer.max_epochs
    steps = math.inf if an_epoch is None or epochs == math.inf else an_epoch * epochs
    steps = steps if trainer.max_steps == -1 else min(steps, trainer.max_steps)
    return None if steps == math.inf else int(steps)


def steps_per_epoch(trainer: L.Trainer, accumulate: int) -> int | None:
    """Of the optimizer, with our own data; None for a stream."""
    if not isinstance(trainer.datamodule, NimbleData):
        return None
    limit = trainer.limit_train_batches
    batches = trainer.datamodule.batches_per_epoch() or math.inf
    batches = (
        batches * limit
        if isinstance(limit, float) and batches != math.inf
        else min(batches, limit if isinstance(limit, int) else math.inf)
    )
    return None if batches == math.inf else math.ceil(int(batches) / accumulate)


def _own(configured: Any, method: str, monitor: str | None) -> Configured:
    """What the trainer's own method returned, in any of the forms Lightning and transformers know."""
    optimizer, schedule, interval = _parts(configured, method)
    if not isinstance(optimizer, Optimizable):
        raise TrainerError(f"{method} returned {_kinds(configured)}; expected {_FORMS}.")
    require_one_pass(optimizer, method)
    if schedule is None:
        return Configured(optimizer)
    described = dict(schedule) if isinstance(schedule, Mapping) else {"scheduler": schedule}
    _check_schedule(described, method)
    on_plateau = isinstance(described["scheduler"], ReduceLROnPlateau)
    if "interval" not in described and not on_plateau:
        described["interval"] = interval
        log.info(
            "%s moves once %s: %s. For another interval return %s",
            type(described["scheduler"]).__name__, *_INTERVALS[interval], _DESCRIBED,
        )  # fmt: skip
    said = described.get("monitor") or (
        configured.get("monitor") if isinstance(configured, Mapping) else None
    )
    mode = described["scheduler"].mode if on_plateau else None
    # Lightning leaves plateau schedules to us, and warns about keys it then ignores.
    kept = {key: described[key] for key in described.keys() & {"scheduler", "interval", "frequency", "name"}}
    return Configured({"optimizer": optimizer, "lr_scheduler": kept}, Plateau(said or monitor, mode))


def require_one_pass(optimizer: Any, where: str) -> None:
    """Refuse an optimizer that needs the loss of a batch several times: each step has one pass."""
    closure = inspect.signature(type(optimizer).step).parameters.get("closure")
    if closure is not None and closure.default is closure.empty:
        raise TrainerError(
            f"{where}: {type(optimizer).__name__} computes the loss several times a step, where train(batch) "
            "is called once. Choose another one, or give a LightningModule as trainer=."
        )


def _parts(configured: Any, method: str) -> tuple[Any, Any, str]:
    """The optimizer, its schedule, and how often that moves where nobody says it."""
    if isinstance(configured, Mapping):
        return configured.get("optimizer"), configured.get("lr_scheduler"), "epoch"
    if not isinstance(configured, list | tuple):
        return configured, None, "epoch"
    if len(configured) == 2 and all(isinstance(part, list | tuple) for part in configured):
        optimizers, schedules = configured
        return _only(optimizers, "optimizers", method), _only(schedules, "schedules", method), "epoch"
    if len(configured) == 2 and not all(isinstance(part, Optimizable) for part in configured):
        return *configured, "step"
    return _parts(_only(configured, "optimizers", method), method)


def _only(parts: Any, kind: str, method: str) -> Any:
    if len(parts) > 1:
        raise TrainerError(
            f"{method} returned {len(parts)} {kind}; train(batch) has one loss, so expected one. "
            + (
                "For several optimizers write a LightningModule and give it as trainer=."
                if kind == "optimizers"
                else "For several schedules of it use torch.optim.lr_scheduler.ChainedScheduler."
            )
        )
    return parts[0] if parts else None


def _check_schedule(described: Mapping[str, Any], method: str) -> None:
    schedule = described.get("scheduler")
    if not callable(getattr(schedule, "step", None)):
        raise TrainerError(
            f"{method} returned {type(schedule).__name__} for a schedule; expected {_DESCRIBED}."
        )
    if unknown := sorted(described.keys() - _KEYS):
        raise TrainerError(f"{method}: a schedule has no {unknown[0]!r}. It has: {', '.join(sorted(_KEYS))}.")
    if isinstance(schedule, ReduceLROnPlateau) and described.get("frequency", 1) != 1:
        raise TrainerError(f"{method}: a plateau schedule looks at every evaluation; leave frequency out.")
    if described.get("interval", "step") not in _INTERVALS:
        raise TrainerError(f"{method}: interval is {described['interval']!r}; expected 'step' or 'epoch'.")


def _kinds(configured: Any) -> str:
    if isinstance(configured, list | tuple):
        return f"({', '.join(map(_kinds, configured))})"
    return type(configured).__name__
