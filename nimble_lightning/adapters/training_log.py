"""Training numbers to loggers, callbacks and bars, every few steps and at least once an epoch."""

from __future__ import annotations

import math
from typing import Any

import lightning as L
import torch
from torch import Tensor

from nimble_lightning.adapters.optimizer_step import OptimizerStep
from nimble_lightning.ranks import everyones, mine, world_size


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
        # As Lightning sends it along.
        row = {"epoch": trainer.current_epoch, **metrics}
        for logger in trainer.loggers:
            logger.log_metrics(row, step=step)
        as_tensors = {name: torch.tensor(value, dtype=torch.float64) for name, value in metrics.items()}
        trainer.callback_metrics.update(as_tensors)
        trainer.logged_metrics.update(as_tensors)
        trainer.progress_bar_metrics.update(metrics)


def learning_rates(optimizer: torch.optim.Optimizer) -> dict[str, float]:
    """`lr` of the first group of parameters; `lr/NAME`, or `lr/1`, of each further one that has another."""
    groups = optimizer.param_groups
    named = {"lr": groups[0]["lr"]} | {f"lr/{g.get('name', i)}": g["lr"] for i, g in enumerate(groups) if i}
    return {name: float(rate) for name, rate in named.items() if name == "lr" or rate != named["lr"]}


class RunningMeans:
    """`train_loss` weighted by items, whatever the user logs by step; and the loss over the whole run.

    Attributes:
        in_step: Whether a batch is being trained on, which what is logged now belongs to.
    """

    def __init__(self) -> None:
        self.in_step = False
        self._loss: Tensor | None = None
        self._items = 0.0
        self._whole_run = [0.0, 0.0]
        self._logged: dict[str, list[Any]] = {}
        self._pending: list[tuple[str, Any]] = []

    def add_loss(self, loss: Tensor, items: float) -> None:
        """Add the mean loss of that many items."""
        if self._loss is None:
            # In full precision whatever the loss is in: a sum in half precision stops growing.
            self._loss = torch.zeros((), dtype=torch.float32, device=loss.device)
        self._loss.add_(loss, alpha=items)
        self._items += items

    def begin(self) -> None:
        """A try at a step starts: forget what a failed try logged."""
        self.in_step = True
        if self._pending:
            self._pending.clear()

    def add(self, name: str, value: Any) -> None:
        """Note one piece's value; it counts once the step is done."""
        self._pending.append((name, value.detach() if isinstance(value, Tensor) else value))

    def commit(self) -> None:
        """The step is done."""
        self.in_step = False
        for name, value in self._pending:
            entry = self._logged.setdefault(name, [0.0, 0])
            entry[0] = entry[0] + value
            entry[1] += 1
        self._pending.clear()

    def take(self, device: torch.device) -> dict[str, float]:
        """The means since the last call, over all ranks."""
        loss, items = (0.0 if self._loss is None else self._loss), self._items
        rows = [(loss, items), *((total, count) for total, count in self._logged.values())]
        values = torch.stack(
            [torch.as_tensor(v, dtype=torch.float32).to(device).reshape(()) for row in rows for v in row]
        )
        if world_size() > 1:
            torch.distributed.all_reduce(values)
        numbers = values.tolist()
        # A loss that is not a number is shown where it happened, and does not become the run's.
        if math.isfinite(numbers[0]):
            self._whole_run[0] += numbers[0]
            self._whole_run[1] += numbers[1]
        names = ["train_loss", *self._logged]
        self._loss, self._items, self._logged = None, 0.0, {}
        return {n: numbers[2 * i] / numbers[2 * i + 1] for i, n in enumerate(names) if numbers[2 * i + 1]}

    @property
    def mean_loss(self) -> float:
        """The loss over all items trained on so far."""
        total, items = self._whole_run
        return total / items if items else float("nan")

    def state_dict(self) -> dict[str, Any]:
        """Every rank must call this: each has sums of its own."""
        loss = 0.0 if self._loss is None else float(self._loss)
        logged = {name: [float(total), count] for name, (total, count) in self._logged.items()}
        return {
            "ranks": everyones({"loss": loss, "items": self._items, "logged": logged}),
            "whole_run": list(self._whole_run),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if not state:
            return
        self._whole_run = list(state["whole_run"])
        if (own := mine(state["ranks"])) is not None:
            self._loss = torch.tensor(own["loss"], dtype=torch.float32) if own["items"] else None
            self._items = own["items"]
            self._logged = {name: list(entry) for name, entry in own["logged"].items()}
