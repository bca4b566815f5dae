"""What a run is judged by, and at which step it was best: settled while it trains, kept in its record."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from typing_extensions import override

from nimble_lightning.callbacks._monitored_metric import Monitor
from nimble_lightning.callbacks.best_checkpoint import BestCheckpoint
from nimble_lightning.errors import RequestError
from nimble_lightning.ops.metric_names import Mode
from nimble_lightning.ops.metric_values import evaluated
from nimble_lightning.ops.objective import Objective, choose

log = logging.getLogger(__name__)


class Judged(L.Callback):
    """Settles what a run is judged by, whether or not its best weights are kept.

    Args:
        monitor: The figure that was asked for.
        mode: Which way is better, if that was asked for.
    """

    def __init__(self, monitor: str | None, mode: Mode | None) -> None:
        self._monitor = Monitor(monitor, mode)

    @override
    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        monitor, _ = self._monitor.asked
        if monitor is not None and not monitor.startswith("train") and not trainer.enable_validation:
            raise RequestError(f"monitor={monitor}: there is no validation that could evaluate it")

    @override
    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._monitor.look(trainer, pl_module)

    def facts(
        self, trainer: L.Trainer, module: L.LightningModule, metrics: Mapping[str, float]
    ) -> dict[str, Any] | None:
        """For the record: figure, direction, reason, and the step of the best weights where they were kept.

        Args:
            trainer: After its fit and the last evaluation.
            module: What was trained.
            metrics: The final figures.
        """
        kept, step = trainer.checkpoint_callback, None
        objective = self._monitor.objective
        if isinstance(kept, BestCheckpoint) and kept.objective is not None:
            objective, step = kept.objective, kept.best_step
        elif isinstance(kept, ModelCheckpoint) and kept.monitor is not None and kept.best_model_path:
            way: Mode = "min" if kept.mode == "min" else "max"
            objective = Objective(kept.monitor, way, f"as {type(kept).__name__} was told")
        if objective is None:
            monitor, mode = self._monitor.asked
            stated: Mapping[str, bool] = getattr(module, "higher_is_better", {})
            objective = chosen_at_end(metrics, monitor, mode, stated)
        elif objective.mode is not None and isinstance(kept, ModelCheckpoint) and kept.best_model_path:
            log.info("best: %s%s", objective, "" if step is None else f", step {step}")
        return None if objective is None else {**objective.to_json(), "step": step}


def chosen_at_end(
    metrics: Mapping[str, float],
    monitor: str | None,
    mode: Mode | None,
    higher_is_better: Mapping[str, bool] | None = None,
) -> Objective | None:
    """What a run is judged by that nobody could watch; no reason to lose what it has trained."""
    try:
        return choose(evaluated(metrics), monitor, mode, higher_is_better or {})
    except RequestError as error:
        log.warning("%s", error)
        return None


def stopped_early(trainer: L.Trainer) -> str:
    """When and why early stopping ended a training; nothing where that came to its end."""
    epochs = trainer.max_epochs or -1
    if not trainer.should_stop or 0 < epochs <= trainer.current_epoch:
        return ""
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, EarlyStopping) and callback.stopping_reason_message:
            why = callback.stopping_reason_message.removesuffix(" Signaling Trainer to stop.").rstrip(".")
            return f"stopped early at step {trainer.global_step}: {why}"
    return ""
