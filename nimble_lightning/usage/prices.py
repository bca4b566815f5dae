"""What only the user can know: prices, the grid, how much the run may take."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar

from nimble_lightning.errors import RequestError
from nimble_lightning.ops.durations import in_seconds

_T = TypeVar("_T")


@dataclass(frozen=True)
class Prices:
    """What is paid.

    Attributes:
        gpu_hour: For an hour of one device, be it a GPU or, without one, the machine that takes its place.
        kwh: For a kilowatt-hour; only where electricity is paid on top.
        currency: A name such as EUR, for people.
    """

    gpu_hour: float | None = None
    kwh: float | None = None
    currency: str | None = None

    def __post_init__(self) -> None:
        _not_negative(self, "prices", "gpu_hour", "kwh")

    @property
    def known(self) -> bool:
        return self.gpu_hour is not None or self.kwh is not None


@dataclass(frozen=True)
class Budget:
    """What a run may take over all its attempts; then it commits and ends.

    Attributes:
        max_cost: In the currency of the prices.
        max_kwh: Energy.
        max_time: Time from start to end, such as 90m or 2h.
    """

    max_cost: float | None = None
    max_kwh: float | None = None
    max_time: float | str | None = None

    def __post_init__(self) -> None:
        _not_negative(self, "budget", "max_cost", "max_kwh")
        if self.max_time is not None:
            in_seconds(self.max_time, "budget.max_time")

    @property
    def given(self) -> bool:
        return (self.max_cost, self.max_kwh, self.max_time) != (None, None, None)

    def used_up(self, cost: float | None, kwh: float | None, seconds: float) -> str | None:
        """What is used up, in a sentence; None while nothing is."""
        most = None if self.max_time is None else in_seconds(self.max_time, "budget.max_time")
        limits = (
            ("max_cost", self.max_cost, cost, ""),
            ("max_kwh", self.max_kwh, kwh, " kWh"),
            ("max_time", most, seconds, " s"),
        )
        for name, limit, used, unit in limits:
            if limit is not None and used is not None and used >= limit:
                return f"the budget is used up: {name} is {limit:g}{unit}, used {used:.4g}{unit}"
        return None


@dataclass(frozen=True)
class UsageTerms:
    """On what an account is based.

    Attributes:
        prices: What is paid.
        grid: Grams of CO2e for a kilowatt-hour, or a country such as DE; None: unknown.
        pue: What the building takes for each kilowatt-hour of its computers.
        peak_flops: Of one device in a second, where the user knows better than the table.
    """

    prices: Prices = field(default_factory=Prices)
    grid: float | str | None = None
    pue: float = 1.0
    peak_flops: float | None = None

    def __post_init__(self) -> None:
        if not self.pue >= 1.0:
            raise RequestError(
                f"pue={self.pue!r}: expected 1 or more, what a building takes over its computers."
            )
        _not_negative(self, "usage_report", "peak_flops")


def made(kind: type[_T], value: Any, name: str) -> _T:
    """A dataclass from a mapping, or one that is made already; None is all defaults."""
    if value is None:
        return kind()
    if isinstance(value, kind):
        return value
    known = [f.name for f in fields(kind)]  # type: ignore[arg-type]
    if not isinstance(value, Mapping):
        raise RequestError(f"{name}={value!r}: expected {{{', '.join(f'{k}: ...' for k in known)}}}.")
    if strangers := [str(key) for key in value if key not in known]:
        raise RequestError(f"There is no {name}.{strangers[0]}; it takes {', '.join(known)}.")
    return kind(**value)


def _not_negative(owner: Any, name: str, *keys: str) -> None:
    for key in keys:
        value = getattr(owner, key)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0:
            raise RequestError(f"{name}.{key}={value!r}: expected a number, 0 or more.")
