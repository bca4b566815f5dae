"""Four methods, or a Lightning project of yours, make runs that finish, tell you, and can be proved."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nimble_lightning._lazy import lazy

if TYPE_CHECKING:
    from nimble_lightning.adapters import adapt
    from nimble_lightning.runtime import Result, run
    from nimble_lightning.trainer import NimbleTrainer

__all__ = ["NimbleTrainer", "Result", "__version__", "adapt", "run"]

_getattr, __dir__ = lazy(
    __name__,
    {
        "NimbleTrainer": "nimble_lightning.trainer",
        "Result": "nimble_lightning.runtime",
        "adapt": "nimble_lightning.adapters",
        "run": "nimble_lightning.runtime",
    },
)


def __getattr__(name: str) -> Any:
    # Reading the installed metadata takes longer than all the rest of this import.
    if name == "__version__":
        from importlib.metadata import version

        return version("nimble-lightning")
    return _getattr(name)
