"""Lightning callbacks, each complete in itself: give any of them to any `lightning.Trainer`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nimble_lightning._lazy import lazy

if TYPE_CHECKING:
    from nimble_lightning.callbacks.progress import Progress

__all__ = ["Progress"]

__getattr__, __dir__ = lazy(__name__, {"Progress": "nimble_lightning.callbacks.progress"})
