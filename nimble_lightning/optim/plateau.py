"""A plateau schedule that warms up first."""

from __future__ import annotations

from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau
from typing_extensions import override

from nimble_lightning.optim.warmup import ramp


class WarmupPlateau(ReduceLROnPlateau):
    """`ReduceLROnPlateau` that raises the rate over the first steps.

    It is stepped on evaluations only, so it counts training steps by listening to the optimizer.
    Evaluations during the warm-up are not judged: the rate is not yet the one that could be too high.

    Args:
        optimizer: Whose rate it sets.
        warmup: Steps until the peak, which is the optimizer's rate when this is made; 0 starts there.
        **plateau: As in `ReduceLROnPlateau`.
    """

    def __init__(self, optimizer: Optimizer, warmup: int, **plateau: Any) -> None:
        super().__init__(optimizer, **plateau)
        self.warmup = warmup
        self.steps = 0
        self.peaks = [float(group["lr"]) for group in optimizer.param_groups]
        if warmup:
            self._apply()
            optimizer.register_step_post_hook(self._after_step)

    @override
    def step(self, metrics: Any, epoch: Any = None) -> None:  # type: ignore[override]
        if self.steps >= self.warmup:
            super().step(metrics, epoch)

    def _after_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        if self.steps < self.warmup:
            self.steps += 1
            self._apply()

    def _apply(self) -> None:
        share = ramp(self.steps, self.warmup)
        for group, peak in zip(self.optimizer.param_groups, self.peaks, strict=True):
            group["lr"] = peak * share
        self._last_lr = [group["lr"] for group in self.optimizer.param_groups]
