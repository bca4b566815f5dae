"""Metrics as plain numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


def to_floats(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Numbers and one-element tensors as floats, waiting for the device once, however many there are."""
    on_device = [name for name, value in metrics.items() if isinstance(value, Tensor) and not value.is_cpu]
    fetched: dict[str, float] = {}
    if on_device:
        stacked = torch.stack([metrics[name].detach().reshape(()).float() for name in on_device])
        fetched = dict(zip(on_device, stacked.tolist(), strict=True))
    return {name: fetched[name] if name in fetched else float(value) for name, value in metrics.items()}


def plain(value: float) -> float | int | str:
    """The value as JSON has it: whole numbers short, and NaN and infinities, which JSON lacks, as words."""
    if not math.isfinite(value):
        return str(value)
    return int(value) if value.is_integer() and abs(value) < 1e15 else value
