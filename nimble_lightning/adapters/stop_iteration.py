"""A StopIteration out of the user's code is an error.

To the loops around it, it would say that the data has come to its end.
"""

from __future__ import annotations

import functools
import traceback
from collections.abc import Callable
from typing import Any

import lightning as L
from lightning.pytorch.utilities.signature_utils import is_param_in_hook_signature

from nimble_lightning.errors import TrainerError

_STEPS = ("training_step", "validation_step", "test_step", "predict_step")


class Watched:
    """The same method, from which no StopIteration comes; can be sent to another process."""

    def __init__(self, method: Callable[..., Any]) -> None:
        functools.update_wrapper(self, method)
        self._method = method

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return self._method(*args, **kwargs)
        except StopIteration as error:
            last = traceback.extract_tb(error.__traceback__)[-1]
            raise TrainerError(
                f"{self._method.__name__} raised StopIteration in {last.filename}, line {last.lineno}: what "
                "it asks for more has come to its end. Start that anew there, or give next() a default."
            ) from error


def watch_steps(trainer: L.Trainer, module: L.LightningModule) -> None:
    """Of any LightningModule, under a Trainer of our own."""
    strategy: Any = trainer.strategy
    for name in _STEPS:
        # One that takes its batches itself ends the epoch in this way.
        if not is_param_in_hook_signature(getattr(module, name), "dataloader_iter", explicit=True):
            setattr(strategy, name, Watched(getattr(strategy, name)))
    # A validation within an epoch would end that.
    validation: Any = trainer.fit_loop.epoch_loop.val_loop
    validation.run = Watched(validation.run)
