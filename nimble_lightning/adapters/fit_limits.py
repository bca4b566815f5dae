"""Where a fit ends within an epoch, and when its evaluations begin: what Lightning has no argument for."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import lightning as L

from nimble_lightning.errors import RequestError
from nimble_lightning.settings import EvaluationSettings


def end_within_epoch(trainer: L.Trainer, epochs: Any, steps_per_epoch: Callable[[], int | None]) -> None:
    """Let a fraction of epochs end at its step, rounded up as transformers does.

    Raises:
        RequestError: The data has no known length.
    """
    if not isinstance(epochs, float) or epochs.is_integer():
        return
    if (an_epoch := steps_per_epoch()) is None:
        raise RequestError(
            f"lightning.max_epochs={epochs}: the length of an epoch is not known. Type lightning.max_steps=N."
        )
    steps, loop = math.ceil(epochs * an_epoch), trainer.fit_loop.epoch_loop
    loop.max_steps = steps if loop.max_steps == -1 else min(steps, loop.max_steps)


def hold_back_evaluation(trainer: L.Trainer, settings: EvaluationSettings) -> None:
    """Have no evaluation before so many steps of the fit."""
    if not settings.after_steps:
        return
    loop: Any = trainer.fit_loop.epoch_loop
    due: Callable[..., bool] = type(loop)._should_check_val_fx

    def due_by_now(fetcher: Any) -> bool:
        return trainer.global_step >= settings.after_steps and due(loop, fetcher)

    loop._should_check_val_fx = due_by_now


def evaluate_at_start(trainer: L.Trainer, settings: EvaluationSettings) -> None:
    """Evaluate before the first step, as Lightning evaluates between two."""
    if not settings.on_start or trainer.global_step or not trainer.enable_validation:
        return
    connector, loop = trainer._logger_connector, trainer.fit_loop.epoch_loop.val_loop
    first = connector._first_loop_iter
    trainer.validating = True
    loop.run()
    trainer.training = True
    connector._first_loop_iter = first
