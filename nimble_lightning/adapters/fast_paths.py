"""Shortcuts through Lightning's step: what it looks up anew for every batch though it never changes."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable
from typing import Any, TypeVar

import lightning as L
import torch
from lightning.pytorch.profilers import PassThroughProfiler
from lightning.pytorch.utilities.model_helpers import is_overridden
from typing_extensions import override

F = TypeVar("F", bound=Callable[..., Any])

_TRANSFER_HOOKS = ("on_before_batch_transfer", "transfer_batch_to_device", "on_after_batch_transfer")
_NOTHING = contextlib.nullcontext()


class ThinModule(L.LightningModule):
    """A LightningModule that costs less per step; behaves as any other where a hook is overridden."""

    _plain_transfer: bool | None = None

    def __setattr__(self, name: str, value: Any) -> None:
        # Lightning sets this one dozens of times a step, and nn.Module's way of setting attributes is slow.
        if name == "_current_fx_name":
            self.__dict__[name] = value
        else:
            super().__setattr__(name, value)

    @override
    def _on_before_batch_transfer(self, batch: Any, dataloader_idx: int = 0) -> Any:
        if self._plain_transfer is None:
            self._plain_transfer = not any(map(self._is_hooked, _TRANSFER_HOOKS))
        return batch if self._plain_transfer else super()._on_before_batch_transfer(batch, dataloader_idx)

    @override
    def _apply_batch_transfer_handler(
        self, batch: Any, device: torch.device | None = None, dataloader_idx: int = 0
    ) -> Any:
        if not self._plain_transfer:
            return super()._apply_batch_transfer_handler(batch, device, dataloader_idx)
        device = device or self.device
        return batch if device.type == "cpu" else self.transfer_batch_to_device(batch, device, dataloader_idx)

    def _is_hooked(self, hook: str) -> bool:
        data = self.trainer.datamodule
        return is_overridden(hook, self) or (data is not None and is_overridden(hook, data))


class ThinProfiler(PassThroughProfiler):
    """Profiles nothing, without making a context manager for each thing it does not profile."""

    @override
    def profile(self, action_name: str) -> contextlib.AbstractContextManager[None]:  # type: ignore[override]
        return _NOTHING


def signature_known(method: F) -> F:
    """Lightning inspects `training_step` at every step; with its signature at hand that is quick."""
    method.__signature__ = inspect.signature(method)
    return method
