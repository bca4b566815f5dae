"""The parts of a criterion once it is read: formulas over metrics, comparisons, and how they are joined."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from nimble_lightning.validators.verdict import Check

BestOf: TypeAlias = Callable[[str, str], float]

_ARITHMETIC: Mapping[str, Callable[[float, float], float]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
}
_COMPARED: Mapping[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
    "==": operator.eq,
    "!=": operator.ne,
}


@dataclass(frozen=True)
class Number:
    """A number as it stands."""

    value: float


@dataclass(frozen=True)
class Metric:
    """The final figure of that name."""

    name: str


@dataclass(frozen=True)
class Best:
    """What the best of some references reaches in the metric on the other side."""

    references: tuple[str, ...]


@dataclass(frozen=True)
class Term:
    """Two formulas joined by an arithmetic sign."""

    sign: str
    left: Formula
    right: Formula


Formula: TypeAlias = Number | Metric | Best | Term


@dataclass(frozen=True)
class Compared:
    """Two formulas held against each other."""

    text: str
    sign: str
    left: Formula
    right: Formula


@dataclass(frozen=True)
class Joined:
    """Conditions of which all, or at least one, have to hold."""

    how: Literal["and", "or"]
    parts: tuple[Condition, ...]


Condition: TypeAlias = Compared | Joined


@dataclass(frozen=True)
class Figures:
    """What formulas are worked out with.

    Args:
        metrics: Final figures by name.
        best_of: From a reference and a metric to what the reference reaches in it.
    """

    metrics: Mapping[str, float]
    best_of: BestOf

    def holds(self, condition: Condition, checks: list[Check]) -> bool:
        """Whether a condition holds; each comparison in it is added to `checks`."""
        if isinstance(condition, Joined):
            # All are worked out, so that what is missing shows at once.
            held = [self.holds(part, checks) for part in condition.parts]
            return all(held) if condition.how == "and" else any(held)
        left, right = self._sides(condition)
        sound = not (math.isnan(left) or math.isnan(right))
        passed = sound and _COMPARED[condition.sign](left, right)
        checks.append(Check(condition.text, passed, left, right))
        return passed

    def _sides(self, compared: Compared) -> tuple[float, float]:
        named = next(iter(metrics_in(compared)), "")
        smaller_wins = compared.sign.startswith("<") == (not any(best_in(compared.left)))
        take = min if smaller_wins else max

        def best(references: tuple[str, ...]) -> float:
            return take(self.best_of(reference, named) for reference in references)

        return self._value(compared.left, best), self._value(compared.right, best)

    def _value(self, formula: Formula, best: Callable[[tuple[str, ...]], float]) -> float:
        if isinstance(formula, Number):
            return formula.value
        if isinstance(formula, Metric):
            return float(self.metrics.get(formula.name, math.nan))
        if isinstance(formula, Best):
            return best(formula.references)
        left, right = self._value(formula.left, best), self._value(formula.right, best)
        try:
            return float(_ARITHMETIC[formula.sign](left, right))
        except (ZeroDivisionError, OverflowError):
            return math.nan


def metrics_in(part: Condition | Formula) -> Iterator[str]:
    """The metrics that are named, in their order."""
    for leaf in _leaves(part):
        if isinstance(leaf, Metric):
            yield leaf.name


def best_in(part: Condition | Formula) -> Iterator[Best]:
    """The places where references are asked for."""
    for leaf in _leaves(part):
        if isinstance(leaf, Best):
            yield leaf


def _leaves(part: Condition | Formula) -> Iterator[Number | Metric | Best]:
    if isinstance(part, Joined):
        for condition in part.parts:
            yield from _leaves(condition)
    elif isinstance(part, Compared | Term):
        yield from _leaves(part.left)
        yield from _leaves(part.right)
    else:
        yield part
