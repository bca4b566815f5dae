"""What happens between two batches of Lightning's training loop."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import lightning as L
from lightning.pytorch.trainer.connectors.data_connector import _parse_num_batches
from lightning.pytorch.trainer.states import RunningStage
from torch import Tensor, nn

from nimble_lightning.adapters.data_module import NimbleData
from nimble_lightning.adapters.distributed.strategy import StepStrategy, reshard
from nimble_lightning.adapters.global_step import Backward, Done, GlobalStep, PieceLoss, Pieces, trainable
from nimble_lightning.adapters.losses import LabelCount
from nimble_lightning.adapters.optimizer_step import LightningHooks, OptimizerStep
from nimble_lightning.adapters.optimizers import Plateau, Scheduling
from nimble_lightning.adapters.stop_iteration import Watched
from nimble_lightning.adapters.training_log import RunningMeans, TrainingLog
from nimble_lightning.adapters.user_trainer import UserTrainer
from nimble_lightning.ops.strategy_traits import traits_of
from nimble_lightning.settings import Clip, RunSettings

_NAMES = ("gradient_clip_val", "gradient_clip_algorithm", "accumulate_grad_batches")


class StepRunner:
    """Puts a step together; `start` looks everything up once, so that `run` has nothing to look up.

    Args:
        module: What is trained.
        user: Whose `train` gives the losses.
        settings: How batches are cut and gradients clipped.
        running: Where losses are added up.

    Attributes:
        done: What the last batch came to.
    """

    done: Done

    def __init__(
        self, module: L.LightningModule, user: UserTrainer, settings: RunSettings, running: RunningMeans
    ) -> None:
        self._module = module
        self._running = running
        self._grad_norm = settings.log.grad_norm
        size = settings.data.micro_batch_size
        self.pieces = Pieces(None if size == "auto" else int(size))
        self.loss_of = PieceLoss(
            Watched(user.object.train),
            user.method("compute_loss"),
            LabelCount(module),
            settings.model.label_smoothing,
        )
        self.arguments = _TrainerArguments(settings.clip)
        self.cooperation = StepStrategy()
        self.plateau = Plateau()
        self._scheduling = Scheduling([], self.plateau)
        self._log: TrainingLog | None = None
        self._steps = 0

    def take_over(self, trainer: L.Trainer) -> None:
        """Before the Trainer and its strategy are set up."""
        self.arguments.take_over(trainer)
        self.cooperation.take_over(trainer, self.arguments.clip, self.arguments.accumulate)

    def start(self) -> None:
        module, trainer = self._module, self._module.trainer
        accumulate = self.arguments.accumulate
        reshard(module)
        self._update = OptimizerStep(
            module, LightningHooks(module), self.arguments.clip, measure=self._grad_norm
        )
        self._scheduling = Scheduling(trainer.lr_scheduler_configs, self.plateau)
        self._log = log = TrainingLog(module, self._running, accumulate)
        self._after_step = log.after_step
        self._loop, self._steps = trainer.fit_loop.epoch_loop, trainer.global_step
        self._data = trainer.datamodule if isinstance(trainer.datamodule, NimbleData) else None
        exchange = self.cooperation.start(trainer, trainable(module), self._update.backward)
        loss_of = self.cooperation.through_model(trainer, self.loss_of)
        backward = Backward(loss_of, self.pieces, exchange, self._running.begin)
        apart = traits_of(trainer.strategy).redoable and not meets_in_forward(module)
        self._step = GlobalStep(backward, module, accumulate, redoable=trainer.world_size == 1 or apart)

    def run(self, batch: Any) -> Tensor:
        """Train on one batch; returns its mean loss."""
        running, last = self._running, self._module.trainer.is_last_batch
        done, complete = self._step.run(batch, last, self._update.zero_grad)
        self.done = done
        running.add_loss(done.loss, done.items)
        running.commit()
        if self._data is not None and self._data.train_loader is not None:
            self._data.train_loader.consumed()
        if complete:
            self._update()
            self._steps = self._module.trainer.global_step
            # Before the schedule moves on: the learning rate in the log is the one that was used.
            self._after_step(self._steps, self._update, last)
            if self._scheduling.by_step:
                self._scheduling.move(self._steps)
        # Where loggers place what comes next, a validation above all: Lightning would count batches.
        self._loop._batches_that_stepped = self._steps
        return done.loss

    def start_of_epoch(self) -> None:
        """After a resume with another batch size, forget the length of the resumed epoch.

        Lightning would keep it for all epochs that follow.
        """
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
        if self._scheduling.by_epoch:
            self._scheduling.move(self._module.trainer.current_epoch + 1)

    def end_of_validation(self, metrics: dict[str, float], higher_is_better: Mapping[str, bool]) -> None:
        if not self._module.trainer.sanity_checking:
            self._scheduling.after_validation(metrics, higher_is_better)

    def end(self, trainer: L.Trainer) -> None:
        # A fit that had nothing to do never started.
        if self._log is not None:
            self._log.flush()
        trainer.fit_loop.epoch_loop._batches_that_stepped = trainer.global_step
        self.cooperation.end(trainer)
        self.arguments.give_back(trainer)

    def figures(self) -> dict[str, float]:
        """Of the last optimizer step."""
        return self._update.figures()

    def state_dict(self) -> dict[str, Any]:
        """Every rank must call this."""
        return {"micro_batch_size": self.pieces.size, "communication": self.cooperation.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        remembered = state.get("micro_batch_size")
        if remembered is not None:
            self.pieces.size = min(remembered, self.pieces.size or remembered)
        self.cooperation.load_state_dict(state.get("communication", {}))


def meets_in_forward(module: nn.Module) -> bool:
    """Whether ranks exchange anything before gradients."""
    return any(isinstance(part, nn.SyncBatchNorm) for part in module.modules())


class _TrainerArguments:
    """Takes clipping and accumulation out of the Trainer before it looks, and puts them back after the fit.

    The Trainer itself refuses them under manual optimization: they are done here.

    Args:
        clip: What applies when the Trainer asks for nothing.
    """

    def __init__(self, clip: Clip) -> None:
        self.clip = clip
        self.accumulate = 1
        self._taken: dict[str, Any] | None = None

    def take_over(self, trainer: L.Trainer) -> None:
        if trainer.gradient_clip_val is None and trainer.accumulate_grad_batches == 1:
            return
        self._taken = {name: getattr(trainer, name) for name in _NAMES}
        if trainer.gradient_clip_val:
            amount = float(trainer.gradient_clip_val)
            self.clip = (
                Clip(value=amount) if trainer.gradient_clip_algorithm == "value" else Clip(norm=amount)
            )
        self.accumulate = trainer.accumulate_grad_batches
        trainer.gradient_clip_val, trainer.gradient_clip_algorithm = None, None
        trainer.accumulate_grad_batches = 1

    def give_back(self, trainer: L.Trainer) -> None:
        for name, value in (self._taken or {}).items():
            setattr(trainer, name, value)
        self._taken = None
