"""The page people open: one file, of a run or of a sweep, from what their folders hold."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nimble_lightning._lazy import lazy

if TYPE_CHECKING:
    from nimble_lightning.report.write_page import build, build_sweep

__all__ = ["build", "build_sweep"]

__getattr__, __dir__ = lazy(
    __name__,
    {"build": "nimble_lightning.report.write_page", "build_sweep": "nimble_lightning.report.write_page"},
)
