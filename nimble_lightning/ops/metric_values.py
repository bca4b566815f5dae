"""The figures of a run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any


def evaluated(metrics: Mapping[str, Any]) -> dict[str, float]:
    """The figures of the evaluation, without those that say how the training went."""
    return {k: float(v) for k, v in metrics.items() if k != "global_step" and not k.startswith("train_")}


def number(figure: Any) -> float:
    """The number that a figure stands for.

    A float32 is read as it is written, so that 9 of 10 are 0.9 and not 0.8999999761581421.
    """
    value = float(figure)
    if not str(getattr(figure, "dtype", "")).endswith("float32") or not math.isfinite(value):
        return value
    import numpy as np

    return float(str(np.float32(value)))


def not_finite(metrics: Mapping[str, Any]) -> str:
    """In words which figures are no finite numbers; nothing where all are."""
    odd = [f"{n} is {v}" for n, v in metrics.items() if isinstance(v, float) and not math.isfinite(v)]
    return ", ".join(odd)
