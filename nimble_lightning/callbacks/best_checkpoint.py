"""Keep the best weights, by a figure that says which way it is better."""

from __future__ import annotations

import logging
from copy import copy
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor
from typing_extensions import override

from nimble_lightning.callbacks._monitored_metric import Monitor
from nimble_lightning.ops.lightning_packages import serves_both
from nimble_lightning.ops.metric_names import Mode
from nimble_lightning.ops.objective import Objective, from_json
from nimble_lightning.ranks import everyones
from nimble_lightning.run_folder import BEST

log = logging.getLogger(__name__)

_BEST = (
    "best_k_models",
    "best_model_path",
    "best_model_score",
    "best_step",
    "current_score",
    "kth_best_model_path",
    "kth_value",
)


@serves_both
class BestCheckpoint(ModelCheckpoint):
    """Lightning's `ModelCheckpoint` that chooses its metric at the first validation.

    Where nobody knows whether that metric is better lower or higher it says so, and keeps the newest weights.

    Args:
        monitor: The metric; None takes the validation loss if there is one, else the first metric.
        mode: "min" or "max"; None asks the torchmetrics object that was logged, else the words of the name.
        save_top_k: How many of the best to keep.
        dirpath: Where; `checkpoints/best` under the Trainer's `default_root_dir` by default.

    Example::

        L.Trainer(callbacks=[BestCheckpoint()])
    """

    def __init__(
        self,
        monitor: str | None = None,
        mode: Mode | None = None,
        save_top_k: int = 1,
        dirpath: str | None = None,
    ) -> None:
        super().__init__(
            dirpath=dirpath,
            filename="best-{step:08d}",
            monitor=monitor or "val_loss",
            mode=mode or "min",
            save_top_k=save_top_k,
            auto_insert_metric_name=False,
            save_on_train_epoch_end=False,
            # A step trained again after a resume overwrites its file; a second version of it would never be
            # cleaned up.
            enable_version_counter=False,
        )
        self.best_step: int | None = None
        self._monitor = Monitor(monitor, mode)
        # None where nothing was to be saved.
        self._failed: bool | None = None
        self._key = f"{type(self).__qualname__}{self._monitor.asked}"

    @property
    def objective(self) -> Objective | None:
        """What is best; None before the first validation."""
        return self._monitor.objective

    @property
    @override
    def state_key(self) -> str:
        # Lightning's contains the metric, which is not known yet when a resumed run asks for its state.
        return self._key

    @override
    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        if self.dirpath is None:
            self.dirpath = str(Path(trainer.default_root_dir) / BEST)
        super().setup(trainer, pl_module, stage)

    @override
    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Nothing to do between validations."""

    @override
    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        before = self.objective
        found = self._monitor.look(trainer, pl_module)
        if found is None or self.objective is None:
            return
        if before is None:
            self._follow(found)
            if found.mode is None and trainer.is_global_zero:
                log.warning("best: %s: the newest weights are kept", found)
        super().on_validation_end(trainer, pl_module)

    @override
    def check_monitor_top_k(self, trainer: L.Trainer, current: Tensor | None = None) -> bool:
        """What is no finite number is never best."""
        finite = current is not None and bool(torch.isfinite(current))
        return trainer.strategy.reduce_boolean_decision(finite) and super().check_monitor_top_k(
            trainer, current
        )

    @override
    def state_dict(self) -> dict[str, Any]:
        chosen = None if self.objective is None else self.objective.to_json()
        return {**super().state_dict(), "objective": chosen, "best_step": self.best_step}

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        if (chosen := from_json(state_dict.get("objective"))) is not None:
            self._monitor.objective = chosen
            self._follow(chosen)
        # Files in another folder are the best of another run, from whose checkpoint this one goes on.
        if state_dict["dirpath"] == self.dirpath:
            super().load_state_dict(state_dict)
            self.best_step = state_dict.get("best_step")

    @override
    def _save_topk_checkpoint(self, trainer: L.Trainer, monitor_candidates: dict[str, Tensor]) -> None:
        """Where the new best cannot be saved, the one before stays, and training goes on."""
        before = {name: copy(getattr(self, name)) for name in _BEST}
        self._failed = None
        super()._save_topk_checkpoint(trainer, monitor_candidates)
        if self._failed is not None and any(everyones(self._failed)):
            vars(self).update(before)

    @override
    def _save_checkpoint(self, trainer: L.Trainer, filepath: str) -> None:
        self._failed = False
        if filepath == self.best_model_path:
            self.best_step = trainer.global_step
        try:
            super()._save_checkpoint(trainer, filepath)
        except OSError as error:
            self._failed = True
            log.error("the best weights could not be saved, training goes on: %s", error)
            # Where the others, whose part went well, wait for us.
            trainer.strategy.barrier("Trainer.save_checkpoint")

    @override
    def _remove_checkpoint(self, trainer: L.Trainer, filepath: str) -> None:
        if self._failed:
            return
        try:
            super()._remove_checkpoint(trainer, filepath)
        except OSError as error:
            log.error("%s could not be deleted, training goes on: %s", filepath, error)

    def _follow(self, objective: Objective) -> None:
        if objective.mode is None:
            # Lightning's keeps the newest where it has nothing to compare.
            self.monitor, self.save_top_k = None, min(1, abs(self.save_top_k))
        else:
            self.monitor, self.mode = objective.metric, objective.mode
            self.kth_value = torch.tensor(torch.inf if objective.mode == "min" else -torch.inf)
