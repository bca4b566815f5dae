"""Two models held against each other on the same samples."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]

RESAMPLES = 10_000
# From so many samples on, the mean of a resample is as good as normal, and that is a formula.
_MANY = 20_000
# Values that are few, such as right and wrong, are drawn by their numbers, which costs nothing.
_FEW_VALUES = 64
_AT_ONCE = 1 << 22
# A few samples look more alike than they are, and resampling would make that a certainty.
_TOO_FEW = 20


@dataclass(frozen=True)
class Interval:
    """Between these lies the true difference, with the given confidence."""

    low: float
    high: float


@dataclass(frozen=True)
class Comparison:
    """How much better one model is than another in one metric.

    Attributes:
        reference: What it was compared with.
        metric: In which metric; `mode` says whether smaller ("min") or larger ("max") is better.
        value: Of the trained model.
        other: Of the reference.
        samples: How many samples both were compared on, one by one; None where only means are known.
        interval: Of `gain`, with 95 % confidence; None where there are too few samples to tell.
        share: Whether the metric is a share of samples, told in points rather than as it is.
    """

    reference: str
    metric: str
    mode: Literal["min", "max"]
    value: float
    other: float
    samples: int | None = None
    interval: Interval | None = None
    share: bool = False

    @property
    def gain(self) -> float:
        """By how much the trained model is better; negative where it is worse."""
        return self.value - self.other if self.mode == "max" else self.other - self.value

    def better_by(self, margin: float) -> bool:
        """Whether the gain is more than the margin, and not by the luck of the samples."""
        return (self.gain if self.interval is None else self.interval.low) > margin

    @property
    def sentence(self) -> str:
        """`accuracy better than bert-tiny by 2.1 points (95 % CI 0.8 to 3.5), n=1,797`."""
        if self.interval is None:
            why = "no values per sample" if self.samples is None else f"only {self.samples} samples"
            return f"{self._verb(self.gain, self.gain)} (no confidence interval: {why})"
        low, high = (self._figure(side) for side in (self.interval.low, self.interval.high))
        verb = self._verb(self.interval.low, self.interval.high)
        return f"{verb} (95 % CI {low} to {high}), n={self.samples:,}"

    def _verb(self, low: float, high: float) -> str:
        unit = " points" if self.share else ""
        if low > 0:
            return f"{self.metric} better than {self.reference} by {self._figure(self.gain)}{unit}"
        if high < 0:
            return f"{self.metric} worse than {self.reference} by {self._figure(-self.gain)}{unit}"
        if low == high == 0:
            return f"{self.metric} the same as {self.reference}"
        signed = f"{'+' if self.gain >= 0 else ''}{self._figure(self.gain)}{unit}"
        return f"{self.metric} not shown to be better than {self.reference}: {signed}"

    def _figure(self, value: float) -> str:
        return f"{100 * value:.1f}" if self.share else f"{value:.3g}"


def interval_of_mean(differences: Values, seed: int, confidence: float = 0.95) -> Interval | None:
    """Where the mean difference lies, by resampling the samples: the same for the same differences and seed.

    The order of the differences does not matter, so neither does the number of ranks they come from.
    """
    if len(differences) < _TOO_FEW:
        return None
    edge = (1 - confidence) / 2
    chance = np.random.default_rng(seed)
    values, counts = np.unique(differences, return_counts=True)
    size = len(differences)
    if len(values) <= _FEW_VALUES:
        drawn = chance.multinomial(size, counts / size, size=RESAMPLES)
        means = drawn @ values / size
    elif size <= _MANY:
        means = _resampled_means(np.sort(differences), chance)
    else:
        half = NormalDist().inv_cdf(1 - edge) * float(differences.std(ddof=1)) / size**0.5
        return Interval(float(differences.mean()) - half, float(differences.mean()) + half)
    low, high = np.quantile(means, [edge, 1 - edge])
    return Interval(float(low), float(high))


def _resampled_means(values: Values, chance: np.random.Generator) -> Values:
    rows = max(1, _AT_ONCE // len(values))
    parts = [
        values[chance.integers(len(values), size=(min(rows, RESAMPLES - begin), len(values)))].mean(axis=1)
        for begin in range(0, RESAMPLES, rows)
    ]
    return np.concatenate(parts)
