"""Which of a run's figures says how good it is, and which way is better."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

_SMALLER_IS_BETTER = ("loss", "error", "perplexity", "ppl", "mae", "mse", "rmse", "wer", "cer", "fid", "nll")


def evaluated(metrics: Mapping[str, Any]) -> dict[str, float]:
    """The figures of the evaluation, without those that say how the training went."""
    return {k: float(v) for k, v in metrics.items() if k != "global_step" and not k.startswith("train_")}


def objective(metrics: Mapping[str, Any], monitor: str | None) -> tuple[str, float] | None:
    """How good a run is: the monitored figure, else `val_loss`, else the first of the evaluation."""
    candidates = [monitor] if monitor else ["val_loss", *evaluated(metrics)]
    name = next((name for name in candidates if name in metrics), None)
    return None if name is None else (name, float(metrics[name]))


def direction(metric: str) -> Literal["min", "max"]:
    """Whether smaller or larger is better, told from the words in a metric's name."""
    words = metric.lower().replace("-", "_").replace("/", "_").split("_")
    return "min" if any(word in _SMALLER_IS_BETTER for word in words) else "max"


def number(figure: Any) -> float:
    """The number that a figure stands for: a float32 is read as it is written, so that 9 of 10 are 0.9 and
    not 0.8999999761581421."""
    value = float(figure)
    if not str(getattr(figure, "dtype", "")).endswith("float32") or not math.isfinite(value):
        return value
    import numpy as np

    return float(str(np.float32(value)))


def not_finite(metrics: Mapping[str, Any]) -> str:
    """In words which figures are no finite numbers; nothing where all are."""
    odd = [f"{n} is {v}" for n, v in metrics.items() if isinstance(v, float) and not math.isfinite(v)]
    return ", ".join(odd)
