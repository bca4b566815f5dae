"""The settings of a run, each with its type: one description for the check of the command line and for use.

`RunSettings.from_config` is the only place that reads a composed configuration. What goes to Lightning
(`lightning`) or to the class that a `_target_` names stays a mapping there.
"""

from __future__ import annotations

from nimble_lightning.settings.callbacks import (
    CallbackSettings,
    HubPushSettings,
    NotificationSettings,
    RetrySettings,
    UsageSettings,
)
from nimble_lightning.settings.fields import read, target_of
from nimble_lightning.settings.launch import (
    LAUNCHERS,
    External,
    Inline,
    Launch,
    Local,
    Multinode,
    Ray,
    Slurm,
    chosen_launch,
)
from nimble_lightning.settings.run import (
    SECTIONS,
    CheckpointSettings,
    Clip,
    DataSettings,
    EvaluationSettings,
    LogSettings,
    ModelSettings,
    Processes,
    RunSettings,
    ShowSettings,
    Trial,
)

__all__ = [
    "LAUNCHERS",
    "SECTIONS",
    "CallbackSettings",
    "CheckpointSettings",
    "Clip",
    "DataSettings",
    "EvaluationSettings",
    "External",
    "HubPushSettings",
    "Inline",
    "Launch",
    "Local",
    "LogSettings",
    "ModelSettings",
    "Multinode",
    "NotificationSettings",
    "Processes",
    "Ray",
    "RetrySettings",
    "RunSettings",
    "ShowSettings",
    "Slurm",
    "Trial",
    "UsageSettings",
    "chosen_launch",
    "read",
    "target_of",
]
