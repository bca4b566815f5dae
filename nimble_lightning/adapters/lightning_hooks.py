"""Lightning's hooks around backward and step, fired in its order, and only where somebody listens."""

from __future__ import annotations

from typing import Any

import lightning as L
from lightning.pytorch.trainer import call
from lightning.pytorch.utilities.model_helpers import is_overridden

_HOOKS = ("on_before_zero_grad", "on_before_backward", "on_after_backward", "on_before_optimizer_step")


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
