"""From values to places on paper, numbers or choices, and the values worth a label."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from nimble_lightning.report import quantities

# Seconds, minutes, hours and days.
TIMES = (
    1,
    2,
    5,
    10,
    20,
    30,
    60,
    120,
    300,
    600,
    1200,
    1800,
    3600,
    7200,
    10800,
    21600,
    43200,
    86400,
    172800,
    604800,
)
# From how many times its smallest value on a curve that stays positive is better seen in powers of ten.
_LOG_FROM = 200.0
# Farther down, and as far up, parts and multiples of a number are none any more.
_SMALLEST = 1e-150


# So many values or fewer are all labelled.
_FEW = 6
_LONG = 18
_ROOM = 0.07


@dataclass(frozen=True)
class Scale:
    """An axis.

    Attributes:
        low: The value at its beginning.
        high: The value at its end.
        length: How long it is drawn.
        log: Whether equal factors are equally long.
        label: What to write at a value.
        units: Steps between labels that are round to people, where those of ten are not.
    """

    low: float
    high: float
    length: float
    log: bool = False
    label: Callable[[float], str] = quantities.number
    units: Sequence[float] = ()

    def place(self, value: float) -> float:
        """How far along the axis a value is."""
        low, high = self._bent(self.low), self._bent(self.high)
        return (self._bent(value) - low) / ((high - low) or 1.0) * self.length

    def ticks(self, most: int) -> list[float]:
        """Round values on the axis."""
        if self.log:
            return _decades(self.low, self.high, most)
        fitting = [unit for unit in self.units if (self.high - self.low) / unit <= most]
        if fitting and (self.high - self.low) / self.units[0] >= 1:
            return _multiples(self.low, self.high, fitting[0])
        return _rounds(self.low, self.high, most)

    def _bent(self, value: float) -> float:
        return math.log10(value) if self.log else value


def fitted(
    values: Iterable[float],
    length: float,
    *,
    log: bool | None = False,
    label: Callable[[float], str] = quantities.number,
) -> Scale:
    """The scale that shows all values, with a little room on either side.

    Args:
        values: Finite numbers.
        length: How long the axis is drawn.
        log: None to let the values decide.
        label: What to write at a value.
    """
    low, high = _ends(values)
    if log is None:
        log = low > _SMALLEST and high < 1 / _SMALLEST and high / low >= _LOG_FROM
    if low == high:
        spread = abs(low) * 0.5 or 1.0
        return Scale(low - spread, high + spread, length, False, label)
    if log:
        room = (high / low) ** 0.04
        return Scale(low / room, high * room, length, True, label)
    room = (high - low) * 0.04
    # Nothing that is never negative should seem so.
    bottom = 0.0 if 0 <= low < (high - low) * 0.25 else low - room
    return Scale(bottom, high + room, length, False, label)


def _ends(values: Iterable[float]) -> tuple[float, float]:
    known = list(values)
    return (min(known), max(known)) if known else (0.0, 1.0)


def _rounds(low: float, high: float, most: int) -> list[float]:
    span = high - low
    if not (math.isfinite(span) and span > _SMALLEST):
        return [low] if math.isfinite(low) else []
    base = 10.0 ** math.floor(math.log10(span / most))
    step = next(base * factor for factor in (1, 2, 5, 10, 20) if span / (base * factor) <= most)
    return _multiples(low, high, step)


def _multiples(low: float, high: float, step: float) -> list[float]:
    first = math.ceil(low / step - 1e-9)
    return [step * k for k in range(first, math.floor(high / step + 1e-9) + 1)]


def _decades(low: float, high: float, most: int) -> list[float]:
    first, last = math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9)
    every = max(1, math.ceil((last - first + 1) / most))
    return [10.0**k for k in range(first, last + 1, every)]


@dataclass(frozen=True)
class Axis:
    """Places and labels of values.

    Attributes:
        name: What is along it.
        scale: For numbers; None for choices.
        choices: For everything else, in order.
        length: How long it is drawn.
        labels: Places and what to write there.
    """

    name: str
    scale: Scale | None
    choices: Sequence[str]
    length: float
    labels: Sequence[tuple[float, str]]

    def place(self, value: Any) -> float | None:
        """Where a value is; None for one that has no place here."""
        if self.scale is not None:
            return self.scale.place(float(value)) if is_number(value) else None
        return self._of_choice(quantities.number(value)) if quantities.number(value) in self.choices else None

    def _of_choice(self, choice: str) -> float:
        return (self.choices.index(choice) + 0.5) / len(self.choices) * self.length


def axis(name: str, values: Sequence[Any], length: float) -> Axis:
    """The axis on which all these values have a place."""
    known = [value for value in values if value is not None]
    if known and all(map(is_number, known)):
        positive = min(known) > 0 and max(known) / min(known) >= 30
        scale = fitted(known, length, log=positive)
        own = sorted(set(known))
        ticks = own if len(own) <= _FEW and _apart(own, scale) else scale.ticks(5)
        return Axis(name, scale, (), length, [(scale.place(t), quantities.number(t, 3)) for t in ticks])
    choices = sorted({quantities.number(value) for value in known})
    made = Axis(name, None, choices, length, ())
    shown = choices if len(choices) <= 2 * _FEW else []
    short = [(made._of_choice(c), c if len(c) <= _LONG else f"{c[:_LONG]}…") for c in shown]
    return Axis(name, None, choices, length, short)


def _apart(values: Sequence[float], scale: Scale) -> bool:
    """Whether there is room for a label at each value."""
    places = [scale.place(value) for value in values]
    return all(right - left > scale.length * _ROOM for left, right in pairwise(places))


def is_number(value: Any) -> bool:
    """Whether it has a place among numbers; true and false are choices."""
    return isinstance(value, int | float) and not isinstance(value, bool) and value - value == 0
