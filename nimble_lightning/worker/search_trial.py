"""The trial of a search that a run is: the trainer can see it, and a hopeless one ends early."""

from __future__ import annotations

import logging
import math
import warnings
from typing import Any

import lightning as L
from lightning.pytorch.trainer.states import TrainerFn
from typing_extensions import override

from nimble_lightning.callbacks._monitored_metric import Monitor
from nimble_lightning.ops import studies
from nimble_lightning.ranks import everyones
from nimble_lightning.settings import Trial

log = logging.getLogger(__name__)


def trial_of(where: Trial | None) -> Any:
    """Optuna's trial, as the search asked for it; None where nobody searches."""
    return None if where is None else studies.open_trial(where.storage, where.id)


class Pruning(L.Callback):
    """Tells the study how a trial does at every validation, and ends it when the study has seen enough.

    Args:
        trial: Of Optuna.
        metric: The figure that the study looks for.
    """

    def __init__(self, trial: Any, metric: str) -> None:
        self._trial = trial
        self._monitor = Monitor(metric, "min" if trial.study.direction.name == "MINIMIZE" else "max")

    @override
    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        found = self._monitor.look(trainer, pl_module)
        if found is None or trainer.sanity_checking or trainer.state.fn != TrainerFn.FITTING:
            return
        hopeless = False
        value = float(trainer.callback_metrics.get(found.metric, math.nan))
        if trainer.is_global_zero:
            with warnings.catch_warnings():
                # A step that is trained again after a kill was told of before.
                warnings.simplefilter("ignore")
                self._trial.report(value, trainer.global_step)
            hopeless = self._trial.should_prune()
            if hopeless:
                self._trial.set_user_attr(studies.PRUNED, trainer.global_step)
                log.info("the search ends this trial: others did better by step %d", trainer.global_step)
        # One rank asks, for the study may have heard of more by the time another does.
        trainer.should_stop = trainer.should_stop or any(everyones(hopeless))
