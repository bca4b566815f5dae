"""What may be set about the adapters, with the values used when nothing is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from nimble_lightning.ops.metric_names import Mode


@dataclass(frozen=True)
class DataSettings:
    """How data becomes batches.

    Attributes:
        batch_size: Samples a rank and optimizer step.
        micro_batch_size: How many of them go through at once; "auto" starts with all and halves when memory
            runs out.
        eval_batch_size: For evaluation; None means `batch_size`.
        num_workers: Processes that load data; 0 loads in the training process.
        shuffle: Whether training visits samples in a new order each epoch.
        drop_last: Whether an incomplete last batch is left out.
        pin_memory: "auto" pins when training on a GPU.
    """

    batch_size: int = 32
    micro_batch_size: int | Literal["auto"] = "auto"
    eval_batch_size: int | None = None
    num_workers: int = 0
    shuffle: bool = True
    drop_last: bool = False
    pin_memory: bool | Literal["auto"] = "auto"


@dataclass(frozen=True)
class Clip:
    """Gradient clipping before each optimizer step; None leaves gradients alone."""

    norm: float | None = None
    value: float | None = None


@dataclass(frozen=True)
class Settings:
    """Everything about the adapters besides the user's own parameters.

    Attributes:
        optim: Optimizer for trainers without `configure_optimizers`: `_target_` and arguments, as in
            conf/optim.
        schedule: Its learning-rate schedule, as in conf/schedule.
        compile: Whether, or with which options, modules go through `torch.compile`.
        gradient_checkpointing: True, or names of the blocks that recompute instead of remember.
        monitor: The metric that says which weights are best; None means the validation loss, else the first
            one `evaluate` gave.
        mode: "min" or "max"; None asks the torchmetrics object, else the words of the metric's name.
        grad_norm: Whether the norm of the gradients is logged where nothing is clipped by it, too.
        asked: The settings that were asked for, by dotted names, where that is known.
    """

    data: DataSettings = field(default_factory=DataSettings)
    clip: Clip = field(default_factory=Clip)
    optim: Mapping[str, Any] = field(default_factory=lambda: {"_target_": "torch.optim.AdamW"})
    schedule: Mapping[str, Any] | None = None
    compile: bool | Mapping[str, Any] = False
    gradient_checkpointing: bool | list[str] = False
    monitor: str | None = None
    mode: Mode | None = None
    seed: int = 0
    grad_norm: bool = False
    asked: Sequence[str] = ()
