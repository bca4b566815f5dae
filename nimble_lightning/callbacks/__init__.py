"""Lightning callbacks, each complete in itself: give any of them to any `lightning.Trainer`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nimble_lightning._lazy import lazy

if TYPE_CHECKING:
    from nimble_lightning.callbacks.auto_retry import AutoRetry
    from nimble_lightning.callbacks.best_checkpoint import BestCheckpoint
    from nimble_lightning.callbacks.early_stopping import EarlyStopping
    from nimble_lightning.callbacks.exact_resume import ExactResume
    from nimble_lightning.callbacks.gpu_info import GPUInfo
    from nimble_lightning.callbacks.hub_push import HubPush
    from nimble_lightning.callbacks.non_finite import NonFinite
    from nimble_lightning.callbacks.notification import Notification
    from nimble_lightning.callbacks.progress import Progress
    from nimble_lightning.callbacks.usage_report import UsageReport

__all__ = [
    "AutoRetry",
    "BestCheckpoint",
    "EarlyStopping",
    "ExactResume",
    "GPUInfo",
    "HubPush",
    "NonFinite",
    "Notification",
    "Progress",
    "UsageReport",
]

__getattr__, __dir__ = lazy(
    __name__,
    {
        "AutoRetry": "nimble_lightning.callbacks.auto_retry",
        "BestCheckpoint": "nimble_lightning.callbacks.best_checkpoint",
        "EarlyStopping": "nimble_lightning.callbacks.early_stopping",
        "ExactResume": "nimble_lightning.callbacks.exact_resume",
        "GPUInfo": "nimble_lightning.callbacks.gpu_info",
        "HubPush": "nimble_lightning.callbacks.hub_push",
        "NonFinite": "nimble_lightning.callbacks.non_finite",
        "Notification": "nimble_lightning.callbacks.notification",
        "Progress": "nimble_lightning.callbacks.progress",
        "UsageReport": "nimble_lightning.callbacks.usage_report",
    },
)
