"""A criterion about a metric that does not exist is refused as soon as the metrics are known."""

from __future__ import annotations

from collections.abc import Collection

import lightning as L
from typing_extensions import override

from nimble_lightning.ops.similar_names import require

# What every run's final figures have, besides those of its evaluation.
OWN = (
    "global_step",
    "train_loss",
    "train_runtime",
    "train_steps_per_second",
    "train_samples_per_second",
)


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
        require("metric", self._names, [*evaluated, *OWN])
