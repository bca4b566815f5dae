"""The figure that a callback follows, chosen from what the validations of a fit really evaluate."""

from __future__ import annotations

from collections.abc import Mapping

import lightning as L
from lightning.pytorch.trainer.states import TrainerFn
from torchmetrics import Metric

from nimble_lightning.ops.metric_names import Mode
from nimble_lightning.ops.objective import Objective, choose


class Monitor:
    """Chooses at the first validation and stays with it.

    Args:
        monitor: The figure that was asked for.
        mode: Which way is better, if that was asked for.

    Attributes:
        objective: What was chosen; None before.
    """

    def __init__(self, monitor: str | None, mode: Mode | None) -> None:
        self.asked = monitor, mode
        self.objective: Objective | None = None

    def look(self, trainer: L.Trainer, module: L.LightningModule) -> Objective | None:
        """What is followed, by a validation of a fit that ends; not settled by the one before training.

        Raises:
            RequestError: What was asked for does not exist, or nobody knows which way it is better.
        """
        if self.objective is not None or trainer.state.fn != TrainerFn.FITTING:
            return self.objective
        monitor, mode = self.asked
        names, higher_is_better = evaluated(trainer, module)
        if monitor in trainer.callback_metrics:
            names.append(monitor)
        elif (monitor or "").startswith("train") and trainer.current_epoch == 0:
            # How an epoch of training went is logged after the validation in it.
            return None
        if trainer.sanity_checking and not names:
            # Some projects do not log in it.
            return None
        found = choose(names, monitor, mode, higher_is_better)
        if found is not None and monitor is not None:
            _ = found.required_mode
        if not trainer.sanity_checking:
            self.objective = found
        return found


def evaluated(trainer: L.Trainer, module: L.LightningModule) -> tuple[list[str], Mapping[str, bool]]:
    """The figures of the validation that ends, and which of them torchmetrics says are better higher."""
    results = trainer._results
    if results is None:
        return [], {}
    names = list(results.metrics(on_step=False)["callback"])
    # Of ours, which logs the numbers of its metrics.
    higher_is_better = dict(getattr(module, "higher_is_better", {}))
    for item in results.values():
        if isinstance(item.value, Metric) and item.value.higher_is_better is not None:
            logged = results._forked_name(item, on_step=False)
            higher_is_better.update(dict.fromkeys(logged, item.value.higher_is_better))
    return names, higher_is_better
