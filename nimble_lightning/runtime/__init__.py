"""The names of old of this package, for one release: each says where it lives now."""

from __future__ import annotations

from importlib import import_module
from typing import Any
from warnings import warn

_HOMES = {
    "Job": "nimble_lightning.runs.job",
    "Result": "nimble_lightning.runs.result",
    "load": "nimble_lightning",
    "run": "nimble_lightning",
    "start": "nimble_lightning.launch.start",
    "supervise": "nimble_lightning.supervision.supervisor",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    warn(
        f"{__name__}.{name} will be gone with the next release: it is {_HOMES[name]}.{name} now",
        DeprecationWarning,
        stacklevel=2,
    )
    return getattr(import_module(_HOMES[name]), name)
