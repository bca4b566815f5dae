"""Evaluates batches by the user's methods, for each set of data by itself."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from nimble_lightning.adapters.evaluation import Means, same_on_all_ranks
from nimble_lightning.adapters.global_step import PieceLoss
from nimble_lightning.adapters.predictions import Predictions, metrics_of, split, wants_predictions
from nimble_lightning.adapters.returned_figures import parts_of, plain
from nimble_lightning.adapters.user_trainer import UserTrainer
from nimble_lightning.errors import TrainerError
from nimble_lightning.ops.batches import size_of

log = logging.getLogger(__name__)

_OF_OUR_OWN = "the means by name"
_OF_THEIRS = "all predictions and labels, as transformers' EvalPrediction"


class Evaluator:
    """Figures of one evaluation, over each of its sets of data.

    Args:
        user: Whose `evaluate` and `compute_metrics` are called.
        loss_of: What tells the loss of a batch where there is no `evaluate`.
    """

    def __init__(self, user: UserTrainer, loss_of: PieceLoss) -> None:
        self.higher_is_better: dict[str, bool] = {}
        self._user = user
        self._loss_of = loss_of
        self._means: dict[str, Means] = {}
        self._predictions: dict[str, Predictions] = {}
        # What a method of the user's logs, while it runs.
        self._logged: list[tuple[str, Any]] | None = None
        self._derives: Callable[..., Any] | None = None
        self._wants_predictions: bool | None = None

    def add(self, batch: Any, method: str, part: str, *, repeated: bool, rank: int) -> None:
        """Evaluate a batch of that part of the data.

        Args:
            batch: On this rank.
            method: `evaluate` or `test`; without one, the loss of `train` is the figure.
            part: The name of the set of data, where there are several.
            repeated: Whether all ranks see the same samples, of which one is to count them.
            rank: Of this process.
        """
        samples, means = size_of(batch), self._means.setdefault(part, Means())
        evaluate, predicts = self._user.method(method), self._asks_for_predictions()
        if evaluate is None and not predicts:
            # What `train` logs is of its training.
            (loss, items), _ = self._with_logs(lambda: self._loss_of(batch, samples))
            means.add({"loss": loss}, samples, items=items, repeated=repeated, rank=rank)
            return
        returned, logged = self._with_logs(lambda: (evaluate or self._loss_of.train)(batch))
        if predicts:
            predictions, labels, figures = split(returned, batch, self._ignored())
            if not repeated or rank == 0:
                self._keep(part, predictions, labels)
            returned = figures
        if evaluate is None:
            loss, items = self._loss_of.of(returned, batch, samples)
            means.add({"loss": loss}, samples, items=items, repeated=repeated, rank=rank)
        else:
            for values, count in parts_of(returned, batch, samples, self._loss_of.label_count):
                means.add(values, samples, items=count, repeated=repeated, rank=rank)
        for name, value in logged:
            means.add({name: value}, samples, repeated=repeated, rank=rank)

    def figures(self, parts: Sequence[str], device: torch.device, group: Any, data: str) -> dict[str, float]:
        """What the evaluation came to; figures of a named part begin with its name. Every rank calls this.

        Args:
            parts: The names of all sets of data, those of which this rank saw nothing among them.
            device: Of the module.
            group: The ranks that have other samples, where some have the same.
            data: What the data is called.
        """
        self._asks_for_predictions()
        found: dict[str, float] = {}
        self.higher_is_better = {}
        for part in parts:
            means = self._means.pop(part, None) or Means()
            metrics = same_on_all_ranks(self._derived(means.compute(device, group, data), part))
            before = f"{part}_" if part else ""
            found.update({_named(before, name): value for name, value in metrics.items()})
            stated = means.higher_is_better.items()
            self.higher_is_better.update({_named(before, name): higher for name, higher in stated})
        return found

    def takes(self, name: str, value: Any) -> bool:
        """Whether an evaluation is under way, which what the user logs then belongs to."""
        if self._logged is None:
            return False
        self._logged.append((name, value.detach() if isinstance(value, Tensor) else value))
        return True

    def _derived(self, metrics: dict[str, float], part: str) -> dict[str, float]:
        """The means, and what `compute_metrics` makes of them or of all predictions."""
        if (derive := self._derives) is not None:
            if self._wants_predictions:
                collected = self._predictions.pop(part, None) or Predictions()
                derived, logged = self._with_logs(lambda: metrics_of(derive, collected))
            else:
                derived, logged = self._with_logs(lambda: derive(dict(metrics)))
            metrics.update(plain({**dict(logged), **derived} if isinstance(derived, Mapping) else derived))
        if not metrics:
            raise TrainerError(
                "evaluate returned nothing. Return metrics by name, such as {'accuracy': ...}; without a "
                "method evaluate the loss of train is the figure."
            )
        return metrics

    def _asks_for_predictions(self) -> bool:
        if self._wants_predictions is None:
            self._derives = self._user.method("compute_metrics")
            self._wants_predictions = self._derives is not None and wants_predictions(self._derives)
            if self._derives is not None:
                log.info("compute_metrics gets %s", _OF_THEIRS if self._wants_predictions else _OF_OUR_OWN)
        return self._wants_predictions

    def _keep(self, part: str, predictions: Any, labels: Any) -> None:
        if (preprocess := self._user.method("preprocess_logits_for_metrics")) is not None:
            predictions = preprocess(predictions, labels)
        self._predictions.setdefault(part, Predictions()).add(predictions, labels)

    def _ignored(self) -> set[str]:
        """Parts of a model's output that its configuration says are no predictions."""
        configs = [getattr(module, "config", None) for module in self._user.modules().values()]
        return {name for c in configs for name in getattr(c, "keys_to_ignore_at_inference", None) or ()}

    def _with_logs(self, method: Callable[[], Any]) -> tuple[Any, list[tuple[str, Any]]]:
        """What a method returns, and what it logs under names that it does not return."""
        logged: list[tuple[str, Any]] = []
        self._logged = logged
        try:
            returned = method()
        finally:
            self._logged = None
        own = returned if isinstance(returned, Mapping) else {}
        names = ((name if name.startswith("val") else f"val_{name}", name, value) for name, value in logged)
        return returned, [(name, value) for name, short, value in names if not {name, short} & own.keys()]


def _named(before: str, name: str) -> str:
    return f"{before}{name.removeprefix('val_')}" if before else name
