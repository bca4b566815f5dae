"""What to do about losses, gradients and weights that are not finite, before any of it is saved."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from typing import Any, Literal

import lightning as L
import torch
import torch.distributed as dist
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor, nn
from torch.optim import Optimizer
from typing_extensions import override

from nimble_lightning.callbacks._kept_values import DelayedScalar, Snapshot
from nimble_lightning.callbacks._output_folder import tell
from nimble_lightning.errors import RequestError
from nimble_lightning.notifications.events import EventKind
from nimble_lightning.ops import sharded_tensors
from nimble_lightning.ops.lightning_packages import either, serves_both
from nimble_lightning.ops.sharded_tensors import held
from nimble_lightning.ops.strategy_traits import traits_of
from nimble_lightning.ranks import everyones

log = logging.getLogger(__name__)

# What is usual is known only after some steps; then it follows the last hundred or so.
_WARM_UP_STEPS, _MEMORY_STEPS = 20, 100


@serves_both
class NonFinite(L.Callback):
    """Ends a run whose loss or weights are no longer finite, or passes over the steps that would spoil them.

    Args:
        policy: "stop" ends the run before anything spoilt is saved; "skip" leaves the weights as they are and
            goes on with the next batch; "rollback" puts weights and optimizer back to the last save first.
        budget: How many steps of a run may be passed over before it ends all the same.
        spike_factor: A gradient so many times larger than usual counts too; None: only what is not finite.
        every_step: Whether "stop" looks at the gradients of every step, whose norm costs a small model a
            tenth of its time. Otherwise it costs nothing: one loss in `log_every_n_steps` is read, as weights
            that a loss has spoilt give no other, and before every save and at the end the weights are looked
            at. At the end so is the figure by which the best weights were chosen.

    The other policies always look at every step, and so does a `spike_factor`: under data parallelism all
    ranks see the same gradients, so they agree without asking each other. With "stop" the answer is read a
    step later, so that a GPU is never waited for; the others have to know it before they step. Float16
    gradient scaling has an answer of its own to steps that are not finite, so there only weights count.

    Example::

        L.Trainer(callbacks=[NonFinite("skip", budget=5)])
    """

    def __init__(
        self,
        policy: Literal["stop", "skip", "rollback"] = "stop",
        budget: int = 10,
        spike_factor: float | None = None,
        every_step: bool = False,
    ) -> None:
        if policy not in ("stop", "skip", "rollback"):
            raise RequestError(f"policy={policy!r} of non_finite: expected stop, skip or rollback.")
        if spike_factor is not None and spike_factor <= 1:
            raise RequestError(f"spike_factor={spike_factor!r}: expected more than 1, or null for no limit.")
        self.policy = policy
        self.budget = budget
        self.spike_factor = spike_factor
        self.every_step = every_step or policy != "stop" or spike_factor is not None
        self.passed_over = 0
        self._usual, self._seen = 0.0, 0
        self._late = DelayedScalar()
        self._losses = Losses()
        self._snapshot: Snapshot | None = None
        self._statistics: list[tuple[Tensor, Tensor]] = []
        self._step = -1
        if not self.every_step:
            # Whoever listens to this hook makes every step call all callbacks.
            setattr(self, "on_before_optimizer_step", super().on_before_optimizer_step)  # noqa: B010

    @override
    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._late, self._step = DelayedScalar(), -1
        scaled = getattr(trainer.precision_plugin, "scaler", None) is not None
        self._losses = Losses(None if self.every_step or scaled else max(1, trainer.log_every_n_steps))
        self._remember(trainer, pl_module)

    @override
    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if self.policy == "skip" and trainer.global_step != self._step:
            # The forward pass of a bad batch spoils the running statistics before any gradient is known.
            self._statistics = [(buffer, buffer.clone()) for buffer in statistics(pl_module)]
            self._step = trainer.global_step

    @override
    def on_before_optimizer_step(
        self, trainer: L.Trainer, pl_module: L.LightningModule, optimizer: Optimizer
    ) -> None:
        gradients = [
            p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None
        ]
        if not gradients or getattr(trainer.precision_plugin, "scaler", None) is not None:
            return
        norm = total_norm(gradients, trainer)
        if self.policy == "stop":
            self._stop_if_bad(self._late.take())
            self._late.put(norm)
        elif problem := self._problem(float(norm)):
            self._pass_over(problem, trainer, optimizer)

    @override
    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if (loss := self._losses.next(outputs)) is not None and not math.isfinite(loss):
            raise FloatingPointError(_spoilt(f"the loss was {loss}", trainer))

    @override
    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._stop_if_bad(self._late.take())
        self._require_finite(trainer, pl_module)
        best: Any = trainer.checkpoint_callback
        if not isinstance(best, either("callbacks.ModelCheckpoint")) or best.monitor is None:
            return
        score = best.best_model_score
        if score is None:
            # Ours takes none that is not finite.
            score = trainer.callback_metrics.get(best.monitor)
        if self.policy == "stop" and score is not None and not math.isfinite(score):
            raise FloatingPointError(
                f"{best.monitor} was finite in no evaluation by step {trainer.global_step}; "
                "callbacks.non_finite=null takes it as it is"
            )

    @override
    def on_save_checkpoint(
        self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        if trainer.state.fn == TrainerFn.FITTING:
            self._require_finite(trainer, pl_module)
        self._remember(trainer, pl_module)

    @override
    def state_dict(self) -> dict[str, Any]:
        # What is to be saved contains the last step, so its gradient has to be known by now.
        self._stop_if_bad(self._late.take())
        return {"passed_over": self.passed_over, "usual": self._usual, "seen": self._seen}

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.passed_over, self._usual, self._seen = (state_dict[k] for k in ("passed_over", "usual", "seen"))

    def _require_finite(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """On all ranks, each of which may hold other parts of the weights."""
        if self.policy != "stop":
            return
        found = [self._losses.last_is_finite, weights_are_finite(pl_module)]
        loss, weights = (all(of_rank) for of_rank in zip(*everyones(found), strict=True))
        if not (loss and weights):
            what = "loss is" if weights else "weights are"
            raise FloatingPointError(_spoilt(f"the {what} not finite", trainer))

    def _remember(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self.policy == "rollback":
            self._snapshot = Snapshot.of(pl_module, trainer.optimizers)

    def _problem(self, norm: float) -> str | None:
        """What is wrong with a step's gradients; what is right is remembered as usual."""
        if not math.isfinite(norm):
            return f"the gradient is {norm}"
        if self.spike_factor and self._seen >= _WARM_UP_STEPS and norm > self.spike_factor * self._usual:
            return f"the gradient is {norm / self._usual:.0f} times larger than usual"
        self._seen += 1
        self._usual += (norm - self._usual) / min(self._seen, _MEMORY_STEPS)
        return None

    def _stop_if_bad(self, norm: float | None) -> None:
        if norm is not None and (problem := self._problem(norm)):
            raise FloatingPointError(
                f"{problem}; callbacks.non_finite.policy=skip would pass over such steps"
            )

    def _pass_over(self, problem: str, trainer: L.Trainer, optimizer: Optimizer) -> None:
        self.passed_over += 1
        if self.passed_over > self.budget:
            raise FloatingPointError(f"{problem}, and the budget of {self.budget} such steps is used up")
        what = "back to the last save" if self._snapshot is not None else "passed over"
        log.warning(
            "after step %d %s: %s (%d of %d)",
            trainer.global_step,
            problem,
            what,
            self.passed_over,
            self.budget,
        )
        kind = EventKind.NON_FINITE if self._snapshot is None else EventKind.ROLLBACK
        tell(trainer, kind, reason=f"{problem}: {what}", count=self.passed_over, budget=self.budget)
        if self._snapshot is not None:
            self._snapshot.restore()
        for buffer, kept in self._statistics:
            buffer.copy_(kept)
        # No optimizer touches a parameter without a gradient, nor what it remembers of it.
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                parameter.grad = None


class Losses:
    """The losses of batches, of which one in so many is read, a batch later than it was made.

    Args:
        every: How many; None: none at all.
    """

    def __init__(self, every: int | None = None) -> None:
        self._every = every
        self._batches = 0
        self._late = DelayedScalar()
        self._last: Tensor | None = None

    def next(self, outputs: Any) -> float | None:
        """Take what a training step gave; returns the loss that was read, if any was."""
        if self._every is None:
            return None
        loss = outputs.get("loss") if isinstance(outputs, Mapping) else outputs
        self._last = loss if isinstance(loss, Tensor) and loss.numel() == 1 else None
        self._batches += 1
        turn = self._batches % self._every
        known = self._late.take() if turn <= 1 else None
        if turn == 0 and self._last is not None:
            self._late.put(self._last.detach().reshape(()))
        return known

    @property
    def last_is_finite(self) -> bool:
        """Waits for the device."""
        return self._last is None or math.isfinite(self._last)


def weights_are_finite(module: nn.Module) -> bool:
    """Those that are trained, as far as they are here."""
    trained = [p for p in module.parameters() if p.requires_grad and not nn.parameter.is_lazy(p)]
    parts = [held(p.detach()) for p in trained if p.is_floating_point()]
    largest = torch._foreach_norm([part for part in parts if part.numel()], ord=math.inf)
    return not largest or bool(torch.stack([norm.float() for norm in largest]).isfinite().all())


def _spoilt(what: str, trainer: L.Trainer) -> str:
    return (
        f"{what} by step {trainer.global_step}; callbacks.non_finite.policy=skip would pass over such "
        "steps, callbacks.non_finite=null trains on"
    )


def statistics(module: nn.Module) -> list[Tensor]:
    """What normalizing layers remember of the batches they saw."""
    sharded_tensors = [m for m in module.modules() if isinstance(m, nn.modules.batchnorm._NormBase)]
    return [buffer for norm in sharded_tensors for buffer in norm.buffers(recurse=False)]


def total_norm(gradients: list[Tensor], trainer: L.Trainer) -> Tensor:
    """The norm of all gradients, the same on every rank; it stays on the device."""
    norm = sharded_tensors.total_norm(gradients)
    if traits_of(trainer.strategy).flat:
        norm = norm.square()
        dist.all_reduce(norm)
        norm = norm.sqrt()
    return norm
