"""Between Lightning's loop and one global step: the optimizer, the schedule, clipping, hooks in Lightning's
order, the log."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import lightning as L
import torch
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy
from lightning.pytorch.trainer import call
from lightning.pytorch.trainer.connectors.data_connector import _parse_num_batches
from lightning.pytorch.trainer.states import RunningStage
from lightning.pytorch.utilities.model_helpers import is_overridden
from lightning.pytorch.utilities.types import LRSchedulerConfig
from torch import Tensor
from torch.optim.lr_scheduler import ReduceLROnPlateau

from nimble_lightning.adapters.data import NimbleData
from nimble_lightning.adapters.settings import Clip
from nimble_lightning.adapters.step import Backward, GlobalStep, PieceLoss, Pieces

if TYPE_CHECKING:
    from nimble_lightning.adapters.module import NimbleModule

_HOOKS = ("on_before_zero_grad", "on_before_backward", "on_after_backward", "on_before_optimizer_step")


class Stepping:
    """Owns what a step needs; `start` looks everything up once, so that `run` has nothing to look up."""

    def __init__(self, module: NimbleModule) -> None:
        self._module = module
        size = module.settings.data.micro_batch_size
        self.pieces = Pieces(None if size == "auto" else int(size))
        self.loss_of = PieceLoss(module.user.object.train, module.user.method("compute_loss"))
        self.clip = module.settings.clip
        self.accumulate = 1
        self.plateau_metric = "val_loss"
        self._schedule: LRSchedulerConfig | None = None
        self._taken: tuple[Any, Any, int] | None = None

    # --- the Trainer's own arguments
    # --------------------------------------------------------------------------------

    def take_over(self, trainer: L.Trainer) -> None:
        """Clipping and accumulation asked of the Trainer, which it refuses under manual optimization, are
        done here."""
        if trainer.gradient_clip_val is None and trainer.accumulate_grad_batches == 1:
            return
        self._taken = (
            trainer.gradient_clip_val,
            trainer.gradient_clip_algorithm,
            trainer.accumulate_grad_batches,
        )
        if trainer.gradient_clip_val:
            by_value = trainer.gradient_clip_algorithm == "value"
            amount = float(trainer.gradient_clip_val)
            self.clip = Clip(value=amount) if by_value else Clip(norm=amount)
        self.accumulate = trainer.accumulate_grad_batches
        trainer.gradient_clip_val, trainer.gradient_clip_algorithm, trainer.accumulate_grad_batches = (
            None,
            None,
            1,
        )

    def give_back(self, trainer: L.Trainer) -> None:
        if self._taken is not None:
            trainer.gradient_clip_val, trainer.gradient_clip_algorithm, trainer.accumulate_grad_batches = (
                self._taken
            )
            self._taken = None

    # --- a step
    # -----------------------------------------------------------------------------------------------------

    def start(self) -> None:
        module, trainer = self._module, self._module.trainer
        strategy = trainer.strategy
        self._wrapped = strategy._lightning_optimizers[0]
        self._optimizer = self._wrapped.optimizer
        self._own = isinstance(strategy, SingleDeviceStrategy | DDPStrategy)
        self._plain_zero = type(self._optimizer).zero_grad is torch.optim.Optimizer.zero_grad
        self._scaler = getattr(trainer.precision_plugin, "scaler", None)
        self._hooked = {name for name in _HOOKS if self._listens(name)}
        schedules = trainer.lr_scheduler_configs
        self._schedule = schedules[0] if schedules else None
        self._every: int = max(1, trainer.log_every_n_steps)
        self._data = trainer.datamodule if isinstance(trainer.datamodule, NimbleData) else None
        backward = Backward(self.loss_of, self.pieces, self._choose_backward(), module.running.begin)
        self._step = GlobalStep(backward, module, self.accumulate, trainer.world_size if self._own else 1)

    def run(self, batch: Any) -> Tensor:
        """Train on one batch; returns its mean loss."""
        module, trainer = self._module, self._module.trainer
        last = trainer.is_last_batch
        done, complete = self._step.run(batch, last, self._zero_grad)
        module.running.add_loss(done.loss, done.items)
        module.running.commit()
        if self._data is not None and self._data.train_loader is not None:
            self._data.train_loader.consumed()
        if complete:
            self._update()
            step = trainer.global_step
            if step % self._every == 0 or (last and self._silent_epoch(step)):
                self._log(step)
        return done.loss

    def _update(self) -> None:
        self._fire("on_before_optimizer_step", self._optimizer)
        if not self._own:
            self._clip(self._module.clip_gradients)
            self._wrapped.step()
        else:
            # What LightningOptimizer.step() does, less the layers a plain optimizer does not need.
            self._wrapped._on_before_step()
            if self._scaler is not None:
                self._scaler.unscale_(self._optimizer)
            self._clip_plainly()
            if self._scaler is not None:
                self._scaler.step(self._optimizer)
                self._scaler.update()
            else:
                self._optimizer.step()
            self._wrapped._on_after_step()
        if self._schedule is not None and self._schedule.interval == "step":
            self._schedule.scheduler.step()  # type: ignore[call-arg]

    def _zero_grad(self) -> None:
        self._fire("on_before_zero_grad", self._optimizer)
        if self._plain_zero:
            for parameter in self._step.parameters:
                parameter.grad = None
        else:
            self._optimizer.zero_grad()

    def _choose_backward(self) -> Callable[[Tensor], None]:
        """Straight to autograd where nothing has to happen around it."""
        if not self._own:
            return self._module.manual_backward
        if not ({"on_before_backward", "on_after_backward"} & self._hooked) and self._scaler is None:
            return torch.Tensor.backward
        return self._backward_with_hooks

    def _backward_with_hooks(self, loss: Tensor) -> None:
        self._fire("on_before_backward", loss)
        (loss if self._scaler is None else self._scaler.scale(loss)).backward()
        self._fire("on_after_backward")

    def _clip_plainly(self) -> None:
        parameters = self._step.parameters
        if self.clip.norm:
            torch.nn.utils.clip_grad_norm_(parameters, self.clip.norm)
        if self.clip.value:
            torch.nn.utils.clip_grad_value_(parameters, self.clip.value)

    def _clip(self, clip_gradients: Callable[..., None]) -> None:
        if self.clip.norm:
            clip_gradients(self._wrapped, gradient_clip_val=self.clip.norm, gradient_clip_algorithm="norm")
        if self.clip.value:
            clip_gradients(self._wrapped, gradient_clip_val=self.clip.value, gradient_clip_algorithm="value")

    def _listens(self, hook: str) -> bool:
        trainer = self._module.trainer
        return is_overridden(hook, self._module) or any(
            is_overridden(hook, c, parent=L.Callback) for c in trainer.callbacks
        )

    def _fire(self, hook: str, *args: Any) -> None:
        if hook in self._hooked:
            trainer = self._module.trainer
            call._call_callback_hooks(trainer, hook, *args)
            call._call_lightning_module_hook(trainer, hook, *args)

    # --- epochs, schedules and the log
    # ----------------------------------------------------------------------------------

    def start_of_epoch(self) -> None:
        """After a resume with other batches, Lightning would keep the length of the resumed epoch for all
        that follow."""
        trainer = self._module.trainer
        loop, loader = trainer.fit_loop, self._data.train_loader if self._data is not None else None
        if loader is None or loop._combined_loader is None or not hasattr(loader, "__len__"):
            return
        batches = _parse_num_batches(RunningStage.TRAINING, len(loader), trainer.limit_train_batches)
        if batches != loop.max_batches:
            loop.max_batches, loop._combined_loader.limits = batches, [batches]
            if isinstance(trainer.val_check_interval, float):
                trainer.val_check_batch = max(1, int(batches * trainer.val_check_interval))

    def end_of_epoch(self) -> None:
        schedule = self._schedule
        if (
            schedule is None
            or schedule.interval != "epoch"
            or isinstance(schedule.scheduler, ReduceLROnPlateau)
        ):
            return
        if (self._module.trainer.current_epoch + 1) % schedule.frequency == 0:
            schedule.scheduler.step()

    def end_of_validation(self, metrics: dict[str, float]) -> None:
        """A plateau schedule follows the monitored metric, seen after each validation."""
        schedule = self._schedule
        if (
            schedule is None
            or not isinstance(schedule.scheduler, ReduceLROnPlateau)
            or self._module.trainer.sanity_checking
        ):
            return
        if self.plateau_metric in metrics:
            schedule.scheduler.step(metrics[self.plateau_metric])

    def _silent_epoch(self, step: int) -> bool:
        """Whether an epoch too short for a line of its own would end without one."""
        batches: int = self._module.trainer.fit_loop.epoch_loop.batch_progress.current.ready
        before = step - math.ceil(batches / self.accumulate)
        return before // self._every == step // self._every

    def _log(self, step: int) -> None:
        trainer = self._module.trainer
        metrics = self._module.running.take(self._module.device)
        metrics["lr"] = float(self._optimizer.param_groups[0]["lr"])
        for logger in trainer.loggers:
            logger.log_metrics(metrics, step=step)
        as_tensors = {name: torch.tensor(value) for name, value in metrics.items()}
        trainer.callback_metrics.update(as_tensors)
        trainer.logged_metrics.update(as_tensors)
        trainer.progress_bar_metrics.update(metrics)

    def flush(self) -> None:
        """Count what came after the last log line into the run's mean loss."""
        self._module.running.take(self._module.device)

    # --- checkpoints
    # ------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        return {"micro_batch_size": self.pieces.size}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        remembered = state.get("micro_batch_size")
        if remembered is not None:
            self.pieces.size = min(remembered, self.pieces.size or remembered)
