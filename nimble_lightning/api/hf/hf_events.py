"""Tells transformers' callbacks what happens in a fit of Lightning's, and does what they decide."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import lightning as L
import torch
from torch import Tensor
from transformers import TrainerCallback, TrainerState
from transformers.trainer_callback import CallbackHandler, ExportableState
from typing_extensions import override

from nimble_lightning.api.hf.hf_steps import HFSteps, follows_steps
from nimble_lightning.errors import RequestError
from nimble_lightning.ops.batches import size_of


@dataclass(frozen=True)
class Plan:
    """How long a training goes on, and what it was called with.

    Attributes:
        epochs: At most.
        max_steps: Of the optimizer, at most.
        steps_in_epoch: Batches of this rank.
        started: When, as `time.time()` has it.
        trial: Of a search.
        ignore_keys: Parts of the model's output that are no predictions.
    """

    epochs: int
    max_steps: int
    steps_in_epoch: int
    started: float
    trial: Any
    ignore_keys: list[str] | None


class HFEvents(L.Callback):
    """What transformers' loop does between two batches: events, logs, evaluation, checkpoints.

    Args:
        hf: The HFTrainer whose events they are.
        steps: What is trained.
        plan: How long it trains.
    """

    def __init__(self, hf: Any, steps: HFSteps, plan: Plan) -> None:
        self._hf = hf
        self._steps = steps
        self._plan = plan
        self._loss: Tensor | float = 0.0
        self._samples = self._step = 0
        self._first_of_step = True
        self._learning_rate: float | None = None
        self.interrupted = False

    # --- events -----------------------------------------------------------------------------------------

    @override
    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        hf = self._hf
        self._step = trainer.global_step
        self._engine: Any = pl_module.stepping
        hf.model.train()
        self._fire("on_train_begin")
        if hf.args.eval_on_start:
            hf._evaluate(self._plan.trial, self._plan.ignore_keys, skip_scheduler=True)

    @override
    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._fire("on_epoch_begin")

    @override
    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        hf = self._hf
        self._steps.samples_of_batch = size_of(batch)
        if self._first_of_step:
            self._first_of_step = False
            self._learning_rate = hf._get_learning_rate()
            self._fire("on_step_begin")

    @override
    def on_before_optimizer_step(self, trainer: L.Trainer, pl_module: Any, optimizer: Any) -> None:
        self._fire("on_pre_optimizer_step")

    @override
    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        hf, done = self._hf, self._engine.done
        self._loss = self._loss + done.loss * done.items
        hf._count_work(batch)
        if trainer.global_step == self._step:
            self._fire("on_substep_end")
        else:
            self._end_of_step(trainer, done.total, batch_idx)
        self._obey(trainer)

    @override
    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._fire("on_epoch_end")
        self._log_save_evaluate()
        self._obey(trainer)

    @override
    def on_exception(self, trainer: L.Trainer, pl_module: Any, exception: BaseException) -> None:
        self.interrupted = isinstance(exception, KeyboardInterrupt)

    def _end_of_step(self, trainer: L.Trainer, items: float, batch_idx: int) -> None:
        hf, args = self._hf, self._hf.args
        self._step, self._first_of_step = trainer.global_step, True
        # The mean over ranks of what each has of the step's loss is that loss.
        loss, self._loss = self._loss * (args.world_size / items) if items else self._loss, 0.0
        if args.logging_nan_inf_filter and not torch.isfinite(torch.as_tensor(loss)):
            loss = hf._tr_loss / (1 + hf.state.global_step - hf._globalstep_last_logged)
        hf._tr_loss += loss
        self._fire("on_optimizer_step")
        hf.state.global_step = self._step
        hf.state.epoch = trainer.current_epoch + (batch_idx + 1) / self._plan.steps_in_epoch
        self._fire("on_step_end")
        self._log_save_evaluate()

    def _log_save_evaluate(self) -> None:
        hf, control = self._hf, self._hf.control
        if not (control.should_log or control.should_evaluate or control.should_save):
            return
        norm = self._engine.figures().get("grad_norm") if control.should_log else None
        hf._maybe_log_save_evaluate(
            hf._tr_loss,
            norm,
            hf.model,
            self._plan.trial,
            hf.state.epoch,
            self._plan.ignore_keys,
            self._plan.started,
            learning_rate=self._learning_rate,
        )
        # An evaluation leaves the model in eval mode.
        if control.should_evaluate or not hf.model.training:
            hf.model.train()

    def _fire(self, event: str) -> None:
        hf = self._hf
        hf.control = getattr(hf.callback_handler, event)(hf.args, hf.state, hf.control)

    def _obey(self, trainer: L.Trainer) -> None:
        if self._hf.control.should_training_stop:
            trainer.should_stop = True
        elif self._hf.control.should_epoch_stop:
            raise RequestError(
                "A TrainerCallback set control.should_epoch_stop, which is not done here.\n"
                "Set should_training_stop, or leave data out of train_dataset"
            )

    # --- commits ----------------------------------------------------------------------------------------

    @override
    def state_dict(self) -> dict[str, Any]:
        hf = self._hf
        note_callbacks(hf)
        return {
            "state": json.dumps(asdict(hf.state)),
            "loss": float(hf._tr_loss),
            "total_loss": hf._total_loss_scalar,
            "first_step": hf._initial_global_step,
            "last_logged": hf._globalstep_last_logged,
            "flos": float(hf.current_flos),
            "schedule": None if follows_steps(hf.lr_scheduler) else hf.lr_scheduler.state_dict(),
        }

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        hf, plan = self._hf, self._plan
        hf.state = TrainerState(**json.loads(state_dict["state"]))
        hf._load_callback_state()
        hf.state.init_training_references(hf, plan.max_steps, plan.epochs, plan.trial)
        hf._tr_loss.fill_(state_dict["loss"])
        if hf._initial_global_step != hf.state.global_step:
            # Of a folder that a call of train() was given, transformers counts what this call adds.
            hf._total_loss_scalar = state_dict["total_loss"]
            hf._initial_global_step = state_dict["first_step"]
        hf._globalstep_last_logged = state_dict["last_logged"]
        hf.current_flos = state_dict["flos"]
        if state_dict["schedule"] is not None:
            hf.lr_scheduler.load_state_dict(state_dict["schedule"])


class Callbacks(CallbackHandler):
    """Calls those that listen; takes a dict such as `{"should_training_stop": True}` for a decision."""

    @override
    def call_event(self, event: str, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
        for callback in list(self.callbacks):
            if getattr(type(callback), event) is getattr(TrainerCallback, event):
                continue
            decided = getattr(callback, event)(
                args,
                state,
                control,
                model=self.model,
                processing_class=self.processing_class,
                optimizer=self.optimizer,
                lr_scheduler=self.lr_scheduler,
                train_dataloader=self.train_dataloader,
                eval_dataloader=self.eval_dataloader,
                **kwargs,
            )
            if isinstance(decided, Mapping):
                # As the guide to callbacks has it, which transformers itself does not follow.
                for name, value in decided.items():
                    setattr(control, name, value)
            elif decided is not None:
                control = decided
        return control


def note_callbacks(hf: Any) -> None:
    """Write what the callbacks remember into the state, as transformers does before it saves."""
    found: dict[str, Any] = {}
    for part in [*hf.callback_handler.callbacks, hf.control]:
        if isinstance(part, ExportableState):
            name, own = type(part).__name__, part.state()
            found[name] = own if name not in found else [*_as_list(found[name]), own]
    state: Any = hf.state
    state.stateful_callbacks = found


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
