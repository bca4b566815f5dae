"""The verdict of a run, made while its model is in memory; unknown metrics are refused at once."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

import lightning as L
from typing_extensions import override

from nimble_lightning.adapters import UserTrainer
from nimble_lightning.ops.signals import asked
from nimble_lightning.ops.similar_names import require
from nimble_lightning.runs.heartbeat import Heart, Phase
from nimble_lightning.runs.job import Job
from nimble_lightning.validators.evaluated_run import Run
from nimble_lightning.validators.from_config import made_validator
from nimble_lightning.validators.verdict import Verdict, as_verdict
from nimble_lightning.worker.lightning_objects import Parts

# What every run's final figures have, besides those of its evaluation.
_OWN = (
    "global_step",
    "train_loss",
    "train_runtime",
    "train_steps_per_second",
    "train_samples_per_second",
)


class Patience(L.Callback):
    """Signs of life while a validator evaluates; between evaluations it may take its time."""

    def __init__(self, heart: Heart) -> None:
        self._heart = heart

    @override
    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        # Lightning has put a handler of its own in front of ours.
        asked.obey()
        self._heart.beat(trainer.global_step, Phase.ENDING)

    @override
    def on_validation_batch_end(self, trainer: L.Trainer, *details: Any) -> None:
        self._heart.beat(trainer.global_step, Phase.ENDING)


class Judge:
    """The validator of a run, the run it is going to judge, and what watches over its wishes in training.

    Args:
        job: What was asked.
        heart: Where to give signs of life, when somebody looks.
    """

    def __init__(self, job: Job, heart: Heart | None = None) -> None:
        self.validator = made_validator(job.settings)
        self.watching: list[L.Callback] = []
        self._heart = heart
        self._run = Run(job.folder.path, job.resolved(), keep=() if heart is None else (Patience(heart),))

    def begin(self, user: UserTrainer | None, parts: Parts | None = None) -> None:
        """Let the validator look at the run before its training.

        Args:
            user: The trainer with the four methods.
            parts: What Lightning is going to train; None where `train` may do everything itself.
        """
        # A module that `train` returned evaluates itself.
        user = None if parts is not None and user is not None and user.trains_by_itself else user
        module, data = (None, None) if parts is None else (parts.module, parts.data)
        self._run = replace(self._run, user=user, module=module, data=data)
        if (begin := getattr(self.validator, "begin", None)) is not None:
            begin(self._run)
        names = getattr(self.validator, "metrics", ())
        if names and module is not None:
            self.watching = [KnownMetrics(names, tested=getattr(data, "has_test_data", True))]

    def verdict(self, trainer: L.Trainer | None, metrics: Mapping[str, float]) -> Verdict:
        """What the validator says. Every rank has to ask, since evaluations need them all."""
        name = type(self.validator).__name__
        if self._heart is not None and trainer is not None:
            self._heart.beat(trainer.global_step, Phase.ENDING)
        answer = self.validator.judge(self._run.ended(trainer, metrics))
        return as_verdict(answer, name)


class KnownMetrics(L.Callback):
    """Refuses names after the first validation, the one before training included.

    Args:
        names: The metrics that will be asked for at the end.
        tested: Whether there will be a test, whose metrics nobody knows before it.
    """

    def __init__(self, names: Collection[str], *, tested: bool) -> None:
        self._names = [name for name in names if not (tested and name.startswith("test"))]
        self._checked = False

    @override
    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not trainer.enable_validation:
            self._check(())

    @override
    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not self._checked:
            # What was logged in training is no final figure.
            self._check([name for name in trainer.callback_metrics if not name.startswith("train_")])

    def _check(self, evaluated: Collection[str]) -> None:
        self._checked = True
        require("metric", self._names, [*evaluated, *_OWN])
