"""Ready-made trainers for language models, and what they are made of."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nimble_lightning._lazy import lazy

if TYPE_CHECKING:
    from nimble_lightning.llm.sft import SFT

__all__ = ["SFT"]

__getattr__, __dir__ = lazy(__name__, {"SFT": "nimble_lightning.llm.sft"})
