"""The only place where the four methods meet Lightning."""

from __future__ import annotations

from typing import Any

from nimble_lightning.adapters.data_module import NimbleData
from nimble_lightning.adapters.lightning_module import NimbleModule
from nimble_lightning.adapters.user_trainer import UserTrainer
from nimble_lightning.settings import RunSettings

__all__ = ["NimbleData", "NimbleModule", "UserTrainer", "adapt"]


def adapt(
    trainer: Any, *, settings: RunSettings | None = None, **params: Any
) -> tuple[NimbleModule, NimbleData]:
    """The two Lightning objects of a trainer, for anybody's `L.Trainer`.

    Args:
        trainer: An object, or a class, with the four methods.
        settings: Batch sizes, optimizer, clipping and the like.
        params: Keywords for its `pre_process`.

    Example::

        module, data = nl.adapt(MyTrainer(), lr=3e-4)
        L.Trainer(max_epochs=3).fit(module, datamodule=data)
    """
    user = UserTrainer(trainer, params)
    settings = settings or RunSettings()
    return NimbleModule(user, settings), NimbleData(user, settings)
