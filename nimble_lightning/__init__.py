"""Four methods, or a Lightning project of yours, make runs that finish, tell you, and can be proved."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nimble_lightning._lazy import lazy

if TYPE_CHECKING:
    from nimble_lightning._version import __version__
    from nimble_lightning.adapters import adapt
    from nimble_lightning.api.evaluate import evaluate, predict
    from nimble_lightning.api.hf.hf_trainer import HFTrainer
    from nimble_lightning.api.load import load
    from nimble_lightning.api.run import run
    from nimble_lightning.errors import RunError
    from nimble_lightning.runs.result import Result
    from nimble_lightning.trainer import NimbleTrainer, param
    from nimble_lightning.validators.models import models

__all__ = [
    "HFTrainer",
    "NimbleTrainer",
    "Result",
    "RunError",
    "__version__",
    "adapt",
    "evaluate",
    "load",
    "models",
    "param",
    "predict",
    "run",
]

__getattr__, __dir__ = lazy(
    __name__,
    {
        "HFTrainer": "nimble_lightning.api.hf.hf_trainer",
        "NimbleTrainer": "nimble_lightning.trainer",
        "Result": "nimble_lightning.runs.result",
        "RunError": "nimble_lightning.errors",
        "__version__": "nimble_lightning._version",
        "adapt": "nimble_lightning.adapters",
        "evaluate": "nimble_lightning.api.evaluate",
        "load": "nimble_lightning.api.load",
        "models": "nimble_lightning.validators.models",
        "param": "nimble_lightning.trainer",
        "predict": "nimble_lightning.api.evaluate",
        "run": "nimble_lightning.api.run",
    },
)
