"""A sequence of any length as a few hundred buckets that keep every extreme."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace


@dataclass(slots=True)
class Bucket:
    """Neighbouring points taken together.

    Attributes:
        first: The x of the first point.
        last: The x of the last point.
        low: The smallest finite y; nan when there is none.
        high: The largest finite y; nan when there is none.
        total: The sum of the finite ys.
        count: How many ys are finite.
        lost: How many ys are nan or infinite.
    """

    first: float
    last: float
    low: float
    high: float
    total: float
    count: int
    lost: int

    @property
    def x(self) -> float:
        return (self.first + self.last) / 2

    @property
    def mean(self) -> float:
        # The sum rounds, and a mean outside of the extremes would be drawn outside of the band.
        return min(max(self.total / self.count, self.low), self.high) if self.count else math.nan

    def turned(self) -> Bucket:
        """The same points, met the other way round."""
        return replace(self, first=self.last, last=self.first)

    def joined(self, after: Bucket) -> Bucket:
        """This bucket and the next one as one."""
        low, high = self.low, self.high
        if after.count:
            low = min(low, after.low) if self.count else after.low
            high = max(high, after.high) if self.count else after.high
        total, count = self.total + after.total, self.count + after.count
        return Bucket(self.first, after.last, low, high, total, count, self.lost + after.lost)


class Downsampled:
    """Takes points as they come and stays small: buckets are joined in pairs once there are too many.

    Args:
        most: How many buckets there may be; once there are so many, half as many are kept.
    """

    def __init__(self, most: int) -> None:
        self._most = most + most % 2
        self._width = 1
        self._buckets: list[Bucket] = []
        self._xs: list[float] = []
        self._ys: list[float] = []

    @property
    def buckets(self) -> list[Bucket]:
        """What has come so far, in that order."""
        rest = [_bucket(self._xs, self._ys)] if self._xs else []
        return [*self._buckets, *rest]

    @property
    def width(self) -> int:
        """How many points a bucket stands for."""
        return self._width

    def extend(self, xs: Sequence[float], ys: Sequence[float]) -> None:
        """Add points."""
        self._xs += xs
        self._ys += ys
        start = 0
        while len(self._xs) - start >= self._width:
            end = start + self._width
            self._buckets.append(_bucket(self._xs[start:end], self._ys[start:end]))
            start = end
            if len(self._buckets) == self._most:
                self._join()
        del self._xs[:start], self._ys[:start]

    def _join(self) -> None:
        pairs = zip(self._buckets[::2], self._buckets[1::2], strict=True)
        self._buckets = [left.joined(right) for left, right in pairs]
        self._width *= 2


def _bucket(xs: Sequence[float], ys: Sequence[float]) -> Bucket:
    total = sum(ys)
    # Neither nan nor an infinity differs from itself by nothing.
    if total - total == 0:
        return Bucket(xs[0], xs[-1], min(ys), max(ys), total, len(ys), 0)
    finite = [y for y in ys if math.isfinite(y)]
    low, high = (min(finite), max(finite)) if finite else (math.nan, math.nan)
    return Bucket(xs[0], xs[-1], low, high, sum(finite), len(finite), len(ys) - len(finite))
