"""One setting of a sweep as an axis, whether it is a number or a choice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from nimble_lightning.report import quantities
from nimble_lightning.report.charts.scale import Scale, fitted

# So many values or fewer are all labelled.
_FEW = 6
_LONG = 18
_ROOM = 0.07


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
