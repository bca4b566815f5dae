"""End a training whose figures have stopped getting better."""

from __future__ import annotations

from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import EarlyStopping as LightningsEarlyStopping
from typing_extensions import override

from nimble_lightning.callbacks._monitored_metric import Monitor
from nimble_lightning.errors import RequestError
from nimble_lightning.ops.lightning_packages import serves_both
from nimble_lightning.ops.metric_names import Mode
from nimble_lightning.ops.objective import Objective, from_json


@serves_both
class EarlyStopping(LightningsEarlyStopping):
    """Lightning's `EarlyStopping` that chooses its metric at the first validation, and says why it stopped.

    Args:
        monitor: The metric; None takes the validation loss if there is one, else the first metric.
        mode: "min" or "max"; None asks the torchmetrics object that was logged, else the words of the name.
        patience: Validations without improvement that are put up with.
        min_delta: By how much the best must be beaten to count.
        check_finite: Whether to stop at a figure that is no finite number.
        stopping_threshold: Stop as soon as the figure is better than this.
        divergence_threshold: Stop as soon as the figure is worse than this.

    Raises:
        RequestError: There is nothing to follow, or nobody knows which way it is better.

    Example::

        L.Trainer(callbacks=[EarlyStopping(patience=5)])
    """

    def __init__(
        self,
        monitor: str | None = None,
        mode: Mode | None = None,
        patience: int = 3,
        min_delta: float = 0.0,
        check_finite: bool = True,
        stopping_threshold: float | None = None,
        divergence_threshold: float | None = None,
    ) -> None:
        super().__init__(
            monitor=monitor or "val_loss",
            mode=mode or "min",
            patience=patience,
            min_delta=min_delta,
            check_finite=check_finite,
            stopping_threshold=stopping_threshold,
            divergence_threshold=divergence_threshold,
        )
        self._monitor = Monitor(monitor, mode)
        self._key = f"{type(self).__qualname__}{self._monitor.asked}"

    @property
    @override
    def state_key(self) -> str:
        # Lightning's contains the metric, which is not known yet when a resumed run asks for its state.
        return self._key

    @override
    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self._monitor.asked[0] is None and not trainer.enable_validation:
            raise RequestError(
                "Early stopping has no validation to follow\n"
                "Give data to evaluate on, or name a figure of the training: monitor=train_loss mode=min"
            )

    @override
    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        found = self._monitor.look(trainer, pl_module)
        if found is not None:
            self._follow(found)
        super().on_validation_end(trainer, pl_module)

    @override
    def state_dict(self) -> dict[str, Any]:
        chosen = None if self._monitor.objective is None else self._monitor.objective.to_json()
        return {**super().state_dict(), "objective": chosen}

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        if (chosen := from_json(state_dict.get("objective"))) is not None:
            self._monitor.objective = chosen
            self._follow(chosen)
        # What is asked for now, not what was asked for when this was saved.
        super().load_state_dict({**state_dict, "patience": self.patience})

    @override
    def _run_early_stopping_check(self, trainer: L.Trainer) -> None:
        if trainer.barebones:
            return
        if self._monitor.objective is None:
            # Of an epoch of training, which ends here.
            found = self._monitor.look(trainer, trainer.lightning_module)
            if found is None:
                raise RequestError("Early stopping has nothing to follow: the validation evaluated no metric")
            self._follow(found)
        super()._run_early_stopping_check(trainer)

    def _follow(self, objective: Objective) -> None:
        mode = objective.required_mode
        if (objective.metric, mode) != (self.monitor, self.mode):
            self.monitor, self.mode = objective.metric, mode
            self.min_delta = abs(self.min_delta) * (1 if mode == "max" else -1)
            self.best_score = torch.tensor(torch.inf if mode == "min" else -torch.inf)
