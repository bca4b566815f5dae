"""Keep the best weights without being told what best means."""

from __future__ import annotations

import logging
from copy import copy
from pathlib import Path
from typing import Any, Literal

import lightning as L
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor
from typing_extensions import override

from nimble_lightning.ops.figures import direction
from nimble_lightning.ranks import everyones

log = logging.getLogger(__name__)

_BEST = (
    "best_k_models",
    "best_model_path",
    "best_model_score",
    "current_score",
    "kth_best_model_path",
    "kth_value",
)
_NOT_EVALUATED = ("train_", "lr", "epoch", "step")


class BestCheckpoint(ModelCheckpoint):
    """Lightning's `ModelCheckpoint` that chooses its metric at the first validation.

    Args:
        monitor: The metric; None takes `val_loss` if there is one, else the first metric of the validation.
        mode: "min" or "max"; None tells it from the metric's name: losses and errors fall, the rest rises.
        save_top_k: How many of the best to keep.
        dirpath: Where; `checkpoints/best` under the Trainer's `default_root_dir` by default.

    Example::

        L.Trainer(callbacks=[BestCheckpoint()])
    """

    def __init__(
        self,
        monitor: str | None = None,
        mode: Literal["min", "max"] | None = None,
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
        self._failed = False
        self._asked = (monitor, mode)
        self._chosen = monitor is not None and mode is not None
        self._key = f"{type(self).__qualname__}{self._asked}"

    @property
    @override
    def state_key(self) -> str:
        # Lightning's contains the metric, which is not known yet when a resumed run asks for its state.
        return self._key

    @override
    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        if self.dirpath is None:
            self.dirpath = str(Path(trainer.default_root_dir) / "checkpoints" / "best")
        super().setup(trainer, pl_module, stage)

    @override
    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Nothing to do between validations."""

    @override
    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not trainer.sanity_checking and not self._chosen:
            self._choose(trainer.callback_metrics)
        if self._chosen:
            super().on_validation_end(trainer, pl_module)

    @override
    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "mode": self.mode, "chosen": self._chosen}

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        if state_dict["chosen"]:
            self._watch(state_dict["monitor"], state_dict["mode"])
        # Files in another folder are the best of another run, from whose checkpoint this one goes on.
        if state_dict["dirpath"] == self.dirpath:
            super().load_state_dict(state_dict)

    @override
    def _update_best_and_save(
        self, current: Tensor, trainer: L.Trainer, monitor_candidates: dict[str, Tensor]
    ) -> None:
        """Where the new best cannot be saved, the one before stays, and training goes on."""
        before = {name: copy(getattr(self, name)) for name in _BEST}
        self._failed = False
        super()._update_best_and_save(current, trainer, monitor_candidates)
        if any(everyones(self._failed)):
            vars(self).update(before)

    @override
    def _save_checkpoint(self, trainer: L.Trainer, filepath: str) -> None:
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

    def _choose(self, metrics: dict[str, Tensor]) -> None:
        monitor, mode = self._asked
        evaluated = [name for name in metrics if not name.startswith(_NOT_EVALUATED)]
        monitor = monitor or ("val_loss" if "val_loss" in evaluated else next(iter(evaluated), None))
        if monitor is not None:
            self._watch(monitor, mode or direction(monitor))

    def _watch(self, monitor: str, mode: str) -> None:
        self.monitor, self.mode, self._chosen = monitor, mode, True
        self.kth_value = torch.tensor(torch.inf if mode == "min" else -torch.inf)
