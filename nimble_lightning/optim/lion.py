"""Lion: the sign of an interpolated momentum, with decoupled weight decay (Chen et al., arXiv:2302.06675)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import Optimizer, ParamsT
from typing_extensions import override

from nimble_lightning.errors import RequestError


class Lion(Optimizer):
    """One momentum a weight, half of AdamW's state; every weight moves by `lr`, however small its gradient.

    Because each step is that large, take a third to a tenth of AdamW's rate and three to ten times its decay.

    Args:
        params: Parameters or groups of them.
        lr: How far each weight moves a step.
        betas: Weight of the past in the direction taken, and in the momentum remembered.
        weight_decay: Decoupled: weights shrink by `lr * weight_decay` a step.
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float = 1e-4,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.0,
    ) -> None:
        if lr < 0 or weight_decay < 0:
            raise RequestError(f"Lion: lr={lr!r} and weight_decay={weight_decay!r}; neither may be negative.")
        if not all(0 <= beta < 1 for beta in betas):
            raise RequestError(f"Lion: betas={betas!r} must lie in [0, 1). The usual ones are (0.9, 0.99).")
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    @override
    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            weights = [weight for weight in group["params"] if weight.grad is not None]
            if weights:
                momenta = [self._momentum(weight) for weight in weights]
                _update(weights, [weight.grad for weight in weights], momenta, group)
        return loss

    def _momentum(self, weight: Tensor) -> Tensor:
        state = self.state[weight]
        if not state:
            state["momentum"] = torch.zeros_like(weight, memory_format=torch.preserve_format)
        momentum: Tensor = state["momentum"]
        return momentum


def _update(weights: list[Tensor], grads: list[Tensor], momenta: list[Tensor], group: dict[str, Any]) -> None:
    lr, (beta1, beta2) = group["lr"], group["betas"]
    direction = torch._foreach_mul(momenta, beta1)
    torch._foreach_add_(direction, grads, alpha=1 - beta1)
    torch._foreach_sign_(direction)
    if group["weight_decay"]:
        torch._foreach_mul_(weights, 1 - lr * group["weight_decay"])
    torch._foreach_add_(weights, direction, alpha=-lr)
    torch._foreach_mul_(momenta, beta2)
    torch._foreach_add_(momenta, grads, alpha=1 - beta2)
