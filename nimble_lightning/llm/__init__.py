"""Ready-made trainers for language models, and what they are made of."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nimble_lightning._lazy import lazy

if TYPE_CHECKING:
    from nimble_lightning.llm.dpo import DPO
    from nimble_lightning.llm.kto import KTO
    from nimble_lightning.llm.pretrain import Pretrain
    from nimble_lightning.llm.reward_model import RewardModel
    from nimble_lightning.llm.sft import SFT

__all__ = ["DPO", "KTO", "SFT", "Pretrain", "RewardModel"]

__getattr__, __dir__ = lazy(
    __name__,
    {
        "DPO": "nimble_lightning.llm.dpo",
        "KTO": "nimble_lightning.llm.kto",
        "Pretrain": "nimble_lightning.llm.pretrain",
        "RewardModel": "nimble_lightning.llm.reward_model",
        "SFT": "nimble_lightning.llm.sft",
    },
)
