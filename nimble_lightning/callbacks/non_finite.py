"""What to do about a gradient that is not finite, or far larger than usual, before it reaches the weights."""

from __future__ import annotations

import logging
import math
from typing import Any, Literal

import lightning as L
import torch.distributed as dist
from lightning.pytorch.strategies import FSDPStrategy
from torch import Tensor, nn
from torch.optim import Optimizer
from typing_extensions import override

from nimble_lightning.callbacks._late import Late
from nimble_lightning.callbacks._place import tell
from nimble_lightning.callbacks._snapshot import Snapshot
from nimble_lightning.errors import RequestError
from nimble_lightning.ops import norms

log = logging.getLogger(__name__)

# What is usual is known only after some steps; then it follows the last hundred or so.
_WARM_UP_STEPS, _MEMORY_STEPS = 20, 100


class NonFinite(L.Callback):
    """Looks at the norm of the gradients before every optimizer step; a loss that is not finite shows there.

    Under data parallelism all ranks see the same gradients, so they agree without asking each other.

    Args:
        policy: "stop" ends the run before anything spoilt is saved; "skip" leaves the weights as they are and
            goes on with the next batch; "rollback" puts weights and optimizer back to the last save first.
        budget: How many steps of a run may be passed over before it ends all the same.
        spike_factor: A gradient so many times larger than usual counts too; None: only what is not finite.

    With "stop" the answer is read a step later, so that a GPU is never waited for; the others have to know it
    before they step. Under float16 gradient scaling, which has an answer of its own, nothing is done.

    Example::

        L.Trainer(callbacks=[NonFinite("skip", budget=5)])
    """

    def __init__(
        self,
        policy: Literal["stop", "skip", "rollback"] = "stop",
        budget: int = 10,
        spike_factor: float | None = None,
    ) -> None:
        if policy not in ("stop", "skip", "rollback"):
            raise RequestError(f"policy={policy!r} of non_finite: expected stop, skip or rollback.")
        if spike_factor is not None and spike_factor <= 1:
            raise RequestError(f"spike_factor={spike_factor!r}: expected more than 1, or null for no limit.")
        self.policy = policy
        self.budget = budget
        self.spike_factor = spike_factor
        self.passed_over = 0
        self._usual, self._seen = 0.0, 0
        self._late = Late()
        self._snapshot: Snapshot | None = None
        self._statistics: list[tuple[Tensor, Tensor]] = []
        self._step = -1

    @override
    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._late, self._step = Late(), -1
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
    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._stop_if_bad(self._late.take())

    @override
    def on_save_checkpoint(
        self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        self._remember(trainer, pl_module)

    @override
    def state_dict(self) -> dict[str, Any]:
        # What is to be saved contains the last step, so its gradient has to be known by now.
        self._stop_if_bad(self._late.take())
        return {"passed_over": self.passed_over, "usual": self._usual, "seen": self._seen}

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.passed_over, self._usual, self._seen = (state_dict[k] for k in ("passed_over", "usual", "seen"))

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
        kind = "non_finite" if self._snapshot is None else "rollback"
        tell(trainer, kind, reason=f"{problem}: {what}", count=self.passed_over, budget=self.budget)
        if self._snapshot is not None:
            self._snapshot.restore()
        for buffer, kept in self._statistics:
            buffer.copy_(kept)
        # No optimizer touches a parameter without a gradient, nor what it remembers of it.
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                parameter.grad = None


def statistics(module: nn.Module) -> list[Tensor]:
    """What normalizing layers remember of the batches they saw."""
    norms = [m for m in module.modules() if isinstance(m, nn.modules.batchnorm._NormBase)]
    return [buffer for norm in norms for buffer in norm.buffers(recurse=False)]


def total_norm(gradients: list[Tensor], trainer: L.Trainer) -> Tensor:
    """The norm of all gradients, the same on every rank; it stays on the device."""
    norm = norms.total_norm(gradients)
    if isinstance(trainer.strategy, FSDPStrategy):
        norm = norm.square()
        dist.all_reduce(norm)
        norm = norm.sqrt()
    return norm
