"""Ready-made trainers for language models, and what they are made of."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nimble_lightning._lazy import lazy

if TYPE_CHECKING:
    from nimble_lightning.llm.dpo import DPO
    from nimble_lightning.llm.pretrain import Pretrain
    from nimble_lightning.llm.sft import SFT

__all__ = ["DPO", "SFT", "Pretrain"]

__getattr__, __dir__ = lazy(
    __name__,
    {
        "DPO": "nimble_lightning.llm.dpo",
        "Pretrain": "nimble_lightning.llm.pretrain",
        "SFT": "nimble_lightning.llm.sft",
    },
)
