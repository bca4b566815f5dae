"""From gradients to new weights: backward, unscale, clip, step, with Lightning's hooks between them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import lightning as L
import torch
from lightning.pytorch.trainer import call
from lightning.pytorch.utilities.model_helpers import is_overridden
from torch import Tensor

from nimble_lightning.adapters.global_step import trainable
from nimble_lightning.errors import RequestError
from nimble_lightning.ops.sharded_tensors import clip_norm, clip_value, total_norm
from nimble_lightning.ops.strategy_traits import Averages, traits_of
from nimble_lightning.settings import Clip

_HOOKS = ("on_before_zero_grad", "on_before_backward", "on_after_backward", "on_before_optimizer_step")


class OptimizerStep:
    """One optimizer and what has to happen around it under the Trainer's strategy and precision.

    Where the strategy adds nothing to backward and step they go straight to torch; elsewhere (DeepSpeed, and
    what we do not know) they go through the strategy.

    Args:
        module: What is trained.
        hooks: Who listens to it.
        clip: How gradients are clipped.
        measure: Whether to find the norm of the gradients even where clipping does not need it.
    """

    def __init__(
        self, module: L.LightningModule, hooks: LightningHooks, clip: Clip, *, measure: bool = False
    ) -> None:
        strategy = module.trainer.strategy
        traits = traits_of(strategy)
        self._direct = traits.plain_steps
        self._engine = traits.averages is Averages.ENGINE
        self._flat = traits.flat
        self._model: Any = strategy.model
        self._module = module
        self._hooks = hooks
        self._clip = clip
        self._wrapped = strategy._lightning_optimizers[0]
        self.optimizer: torch.optim.Optimizer = self._wrapped.optimizer
        self._scaler = getattr(module.trainer.precision_plugin, "scaler", None)
        self._parameters = trainable(module)
        self._norm: Tensor | float | None = None
        self._measures = measure or bool(clip.norm)
        if measure and not self._direct and not self._engine:
            raise RequestError(
                f"log.grad_norm=true: {type(strategy).__name__} keeps the gradients to itself. Leave it out, "
                "or choose another strategy."
            )
        self._resets_plainly = type(self.optimizer).zero_grad is torch.optim.Optimizer.zero_grad

    @property
    def backward(self) -> Callable[[Tensor], None]:
        """Straight to autograd where nothing has to happen around it."""
        if not self._direct:
            return self._module.manual_backward
        if self._scaler is None and not self._hooks.hears("on_before_backward", "on_after_backward"):
            return torch.Tensor.backward
        return self._backward_with_hooks

    def zero_grad(self) -> None:
        self._hooks.fire("on_before_zero_grad", self.optimizer)
        if not self._resets_plainly:
            self.optimizer.zero_grad()
            return
        for parameter in self._parameters:
            parameter.grad = None

    def __call__(self) -> None:
        if self._direct:
            self._step_directly()
            return
        for amount, algorithm in ((self._clip.norm, "norm"), (self._clip.value, "value")):
            if amount:
                self._module.clip_gradients(self.optimizer, amount, algorithm)
        self._wrapped.step()
        if self._engine:
            self._norm = self._model.get_global_grad_norm()

    def figures(self) -> dict[str, float]:
        """Of the last step: the norm its gradients had before they were clipped, where it was needed."""
        norm = self._norm if self._measures else None
        return {} if norm is None else {"grad_norm": float(norm)}

    def _step_directly(self) -> None:
        """What LightningOptimizer.step() does, less the layers a plain optimizer does not need."""
        self._wrapped._on_before_step()
        if self._scaler is not None:
            self._scaler.unscale_(self.optimizer)
        self._hooks.fire("on_before_optimizer_step", self.optimizer)
        if self._measures:
            self._norm = self._clip_norm(self._clip.norm)
        if self._clip.value:
            clip_value(self._gradients, self._clip.value)
        if self._scaler is None:
            self.optimizer.step()
        else:
            self._scaler.step(self.optimizer)
            self._scaler.update()
        self._wrapped._on_after_step()

    def _clip_norm(self, most: float | None) -> Tensor | None:
        """The norm before it; it stays on the device."""
        if self._flat:
            # Its gradients do not know that they are parts.
            norm: Tensor = self._model.clip_grad_norm_(most or math.inf)
            return norm
        gradients = self._gradients
        if not gradients:
            return None
        return clip_norm(gradients, most) if most else total_norm(gradients)

    @property
    def _gradients(self) -> list[Tensor]:
        return [p.grad for p in self._parameters if p.grad is not None]

    def _backward_with_hooks(self, loss: Tensor) -> None:
        self._hooks.fire("on_before_backward", loss)
        (loss if self._scaler is None else self._scaler.scale(loss)).backward()
        self._hooks.fire("on_after_backward")


class LightningHooks:
    """The listeners of an optimizer step, looked up once a fit.

    Asking at every step would cost more than most steps of a small model.
    """

    def __init__(self, module: L.LightningModule) -> None:
        self._trainer = module.trainer
        self._heard = {hook for hook in _HOOKS if _listens(hook, module)}

    def hears(self, *hooks: str) -> bool:
        return not self._heard.isdisjoint(hooks)

    def fire(self, hook: str, *args: Any) -> None:
        if hook in self._heard:
            call._call_callback_hooks(self._trainer, hook, *args)
            call._call_lightning_module_hook(self._trainer, hook, *args)


def _listens(hook: str, module: L.LightningModule) -> bool:
    callbacks = module.trainer.callbacks
    return is_overridden(hook, module) or any(is_overridden(hook, c, parent=L.Callback) for c in callbacks)
