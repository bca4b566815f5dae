"""Loggers that keep what earlier attempts of a run have written."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nimble_lightning._lazy import lazy

if TYPE_CHECKING:
    from nimble_lightning.loggers.csv import CSVLogger
    from nimble_lightning.loggers.history import read_metrics
    from nimble_lightning.loggers.jsonl import JSONLLogger
    from nimble_lightning.loggers.trackio import TrackioLogger

__all__ = ["CSVLogger", "JSONLLogger", "TrackioLogger", "read_metrics"]

__getattr__, __dir__ = lazy(
    __name__,
    {
        "CSVLogger": "nimble_lightning.loggers.csv",
        "JSONLLogger": "nimble_lightning.loggers.jsonl",
        "TrackioLogger": "nimble_lightning.loggers.trackio",
        "read_metrics": "nimble_lightning.loggers.history",
    },
)
