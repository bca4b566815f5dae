"""From a job to its end; the only place that starts processes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nimble_lightning._lazy import lazy

if TYPE_CHECKING:
    from nimble_lightning.runtime.function import run
    from nimble_lightning.runtime.job import Job
    from nimble_lightning.runtime.opening import load
    from nimble_lightning.runtime.result import Result

__all__ = ["Job", "Result", "load", "run"]

__getattr__, __dir__ = lazy(
    __name__,
    {
        "Job": "nimble_lightning.runtime.job",
        "Result": "nimble_lightning.runtime.result",
        "load": "nimble_lightning.runtime.opening",
        "run": "nimble_lightning.runtime.function",
    },
)
