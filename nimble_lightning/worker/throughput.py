"""How long training took and how much went through it, over all attempts; and whose checkpoints these are."""

from __future__ import annotations

import json
import logging
import time
from typing import Any

import lightning as L
from typing_extensions import override

from nimble_lightning.adapters import NimbleModule
from nimble_lightning.adapters.optimizers import planned_steps
from nimble_lightning.errors import RequestError
from nimble_lightning.ops.batches import size_of
from nimble_lightning.ops.metric_values import number
from nimble_lightning.ranks import everyones, share_of_data
from nimble_lightning.runs.job import Job
from nimble_lightning.worker.config_agreement import require_same

log = logging.getLogger(__name__)

_LIMITS = ("max_epochs", "max_steps", "max_time", "min_epochs", "min_steps")


class Meter(L.Callback):
    """Sees that all ranks have the same run, counts its seconds and samples, and names it in its checkpoints.

    One callback for all of it, since each costs every step a little.
    """

    def __init__(self, job: Job, attempt: int) -> None:
        self._job = job
        self._attempt = attempt
        self._stops = False
        self._before = 0.0
        self._started: float | None = None
        self._samples = 0
        self._train_loss: int | float | None = None

    @override
    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        if stage == "fit":
            require_same(self._job.resolved())

    @override
    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self._stops:
            trainer.should_stop = True

    @override
    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        _require_reachable(trainer, pl_module)
        self._started = time.monotonic()
        trained = sum(p.numel() for p in pl_module.parameters() if p.requires_grad)
        where = f"{trainer.world_size} x {trainer.strategy.root_device.type}"
        if trainer.is_global_zero:
            log.info("%s parameters on %s, %s", f"{trained:,}", where, trainer.default_root_dir)

    @override
    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._samples += size_of(batch)

    @override
    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._before, self._started = self.seconds, None

    @property
    def seconds(self) -> float:
        return self._before + (0.0 if self._started is None else time.monotonic() - self._started)

    def rates(self, trainer: L.Trainer) -> dict[str, float]:
        """In the names the Hugging Face Trainer uses; every rank has to ask."""
        seconds = max(self.seconds, 1e-9)
        seen = dict(everyones((share_of_data(trainer.strategy)[0], self._samples)))
        return {
            "train_runtime": self.seconds,
            "train_steps_per_second": trainer.global_step / seconds,
            "train_samples_per_second": sum(seen.values()) / seconds,
        }

    @override
    def on_save_checkpoint(
        self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        own = checkpoint.setdefault("nimble", {})
        _, parts = share_of_data(trainer.strategy)
        own.update(run_id=self._job.run_id, attempt=self._attempt, samples=self._samples * parts)
        if (loss := self.train_loss(trainer)) is not None:
            own["train_loss"] = loss
        if trainer.should_stop:
            own["stops"] = self._lengths

    @override
    def on_load_checkpoint(
        self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """A run that was to end early is not trained further, unless it is asked to go on longer."""
        own = checkpoint.get("nimble", {})
        self._stops = own.get("run_id") == self._job.run_id and own.get("stops") == self._lengths
        self._train_loss = own.get("train_loss")

    def train_loss(self, trainer: L.Trainer) -> int | float | None:
        """What was logged by that name last; resumed at its very end, a run logs nothing any more."""
        logged = trainer.callback_metrics.get("train_loss")
        return self._train_loss if logged is None else number(logged)

    @property
    def _lengths(self) -> str:
        """What was asked about where a training ends."""
        asked = self._job.settings
        limits = {name: value for name, value in asked.lightning.items() if name in _LIMITS}
        return json.dumps([limits, asked.callbacks.block("early_stopping")], sort_keys=True)

    @override
    def state_dict(self) -> dict[str, Any]:
        return {"seconds": self.seconds, "samples": self._samples}

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._before, self._samples = state_dict["seconds"], state_dict["samples"]


def _require_reachable(trainer: L.Trainer, module: L.LightningModule) -> None:
    """Refuse to end before the least number of steps; how many an epoch has is known by now."""
    least = trainer.fit_loop.min_steps
    accumulate = trainer.accumulate_grad_batches
    if isinstance(module, NimbleModule):
        accumulate = module.batches_a_step
    most = planned_steps(trainer, accumulate) if least else None
    if least and most is not None and most < least:
        raise RequestError(
            f"lightning.min_steps={least}: the run ends after {most} steps in "
            f"lightning.max_epochs={trainer.max_epochs}\nGive a larger lightning.max_epochs"
        )
