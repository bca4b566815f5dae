"""Training numbers to loggers, callbacks and bars, every few steps and at least once an epoch."""

from __future__ import annotations

import math

import lightning as L
import torch

from nimble_lightning.adapters.optimizer_step import OptimizerStep
from nimble_lightning.adapters.running_means import RunningMeans


class TrainingLog:
    """Does the work of `self.log` once in `log_every_n_steps`.

    At every step it would cost more than a step of a small model.
    """

    def __init__(self, module: L.LightningModule, running: RunningMeans, accumulate: int) -> None:
        self._module = module
        self._trainer = module.trainer
        self._running = running
        self._accumulate = accumulate
        self._every: int = max(1, module.trainer.log_every_n_steps)

    def after_step(self, step: int, update: OptimizerStep, last_of_epoch: bool) -> None:
        if step % self._every == 0 or (last_of_epoch and self._silent_epoch(step)):
            self._write(step, {**learning_rates(update.optimizer), **update.figures()})

    def flush(self) -> None:
        """Count what came after the last line into the run's mean loss."""
        self._running.take(self._module.device)

    def _silent_epoch(self, step: int) -> bool:
        """Whether an epoch too short for a line of its own would end without one."""
        batches: int = self._trainer.fit_loop.epoch_loop.batch_progress.current.ready
        before = step - math.ceil(batches / self._accumulate)
        return before // self._every == step // self._every

    def _write(self, step: int, of_step: dict[str, float]) -> None:
        trainer = self._trainer
        metrics = {**self._running.take(self._module.device), **of_step}
        for logger in trainer.loggers:
            logger.log_metrics(metrics, step=step)
        as_tensors = {name: torch.tensor(value, dtype=torch.float64) for name, value in metrics.items()}
        trainer.callback_metrics.update(as_tensors)
        trainer.logged_metrics.update(as_tensors)
        trainer.progress_bar_metrics.update(metrics)


def learning_rates(optimizer: torch.optim.Optimizer) -> dict[str, float]:
    """`lr` of the first group of parameters; `lr/NAME`, or `lr/1`, of each further one that has another."""
    groups = optimizer.param_groups
    named = {"lr": groups[0]["lr"]} | {f"lr/{g.get('name', i)}": g["lr"] for i, g in enumerate(groups) if i}
    return {name: float(rate) for name, rate in named.items() if name == "lr" or rate != named["lr"]}
