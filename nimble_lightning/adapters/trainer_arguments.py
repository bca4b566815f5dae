"""Clipping and accumulation that were given to the Trainer: they are done here.

The Trainer itself refuses them under manual optimization.
"""

from __future__ import annotations

from typing import Any

import lightning as L

from nimble_lightning.settings import Clip

_NAMES = ("gradient_clip_val", "gradient_clip_algorithm", "accumulate_grad_batches")


class TrainerArguments:
    """Takes the arguments out of the Trainer before it looks at them, and puts them back after the fit.

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
