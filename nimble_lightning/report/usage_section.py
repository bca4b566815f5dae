"""The usage account as figures with their doubts, and where the time went."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from nimble_lightning.report import quantities

_POWERS = ("", "k", "M", "G", "T", "P", "E", "Z", "Y")
_PARTS = {
    "step": "training steps",
    "data": "waiting for data",
    "validation": "evaluation",
    "checkpoint": "checkpoints",
    "start": "start-up",
    "retry": "waiting to retry",
    "hang": "hung",
    "lost": "repeated work",
    "other": "other",
}


@dataclass(frozen=True)
class Figure:
    """A figure of the account.

    Attributes:
        name: What it is.
        text: Its value, for people.
        kind: measured, estimated or assumed; "" where there is no doubt.
        note: How it was arrived at.
        value: The figure itself.
    """

    name: str
    text: str
    kind: str = ""
    note: str = ""
    value: float = 0.0


@dataclass(frozen=True)
class Part:
    """A part of the time.

    Attributes:
        name: On what it was spent.
        seconds: How much of it.
        begin: Where it begins on a bar, in per cent.
        width: How wide it is on a bar, in per cent.
        colour: Its class.
    """

    name: str
    seconds: float
    begin: float
    width: float
    colour: int

    @property
    def text(self) -> str:
        return f"{quantities.duration(self.seconds)}, {quantities.share(self.width / 100)}"


def parts(usage: Mapping[str, Any]) -> list[Part]:
    """Where the time went, in the order of the table above; what took none is left out."""
    time = usage.get("time")
    known = {name: _value(v) for name, v in time.items()} if isinstance(time, Mapping) else {}
    spent = {name: s for name in (*_PARTS, *sorted(known)) if (s := known.get(name)) and s > 0}
    total = sum(spent.values())
    found, begin = [], 0.0
    for colour, (name, seconds) in enumerate(spent.items()):
        width = seconds / total * 100
        found.append(Part(_PARTS.get(name, name), seconds, round(begin, 2), round(width, 2), colour))
        begin += width
    return found


def figures(usage: Mapping[str, Any]) -> list[Figure]:
    """Everything the account says, apart from the parts of the time."""
    energy = usage.get("energy_kwh")
    energy = energy if isinstance(energy, Mapping) else {}
    if not ({"gpu", "cpu", "ram", "total"} & energy.keys()):
        energy = {"total": usage.get("energy_kwh")}
    rows: list[tuple[str, Any, Callable[[float], str]]] = [
        ("wall time", usage.get("wall_seconds"), quantities.duration),
        ("device time", usage.get("device_seconds"), quantities.duration),
        ("goodput", usage.get("goodput"), quantities.share),
        ("attempts", usage.get("attempts"), quantities.number),
        ("steps", usage.get("steps"), quantities.number),
        ("samples", usage.get("samples"), quantities.number),
        ("tokens", usage.get("tokens"), quantities.number),
        ("tokens a second", _tokens_per_second(usage), quantities.number),
        ("FLOPs", usage.get("flops"), _flop),
        ("MFU", usage.get("mfu"), quantities.share),
        ("peak memory", usage.get("peak_memory_bytes"), quantities.size),
        ("energy", energy.get("total"), _kwh),
        ("GPU energy", energy.get("gpu"), _kwh),
        ("CPU energy", energy.get("cpu"), _kwh),
        ("memory energy", energy.get("ram"), _kwh),
        ("CO₂ equivalent", usage.get("co2e_kg"), _kilograms),
    ]
    found = [_figure(name, value, text) for name, value, text in rows]
    return [*filter(None, found), *filter(None, [cost(usage)])]


def _tokens_per_second(usage: Mapping[str, Any]) -> float | None:
    """While training, waits for data included."""
    time, tokens = usage.get("time"), _value(usage.get("tokens"))
    seconds = (
        sum(_value(time.get(part)) or 0.0 for part in ("step", "data")) if isinstance(time, Mapping) else 0
    )
    return tokens / seconds if tokens and seconds > 0 else None


def cost(usage: Mapping[str, Any]) -> Figure | None:
    """What it cost, in the user's currency, where prices are known."""
    given = usage.get("cost")
    if not isinstance(given, Mapping):
        return None
    currency = str(given.get("currency") or "")
    return _figure(
        "cost", given.get("amount", given), lambda v: f"{quantities.number(v, 4)} {currency}".strip()
    )


def energy(usage: Mapping[str, Any]) -> Figure | None:
    """All the energy it took, where that is known."""
    given = usage.get("energy_kwh")
    total = given.get("total", given) if isinstance(given, Mapping) else given
    return _figure("energy", total, _kwh)


def to_go(usage: Mapping[str, Any]) -> Figure | None:
    """How much longer it takes, while it goes on."""
    left = usage.get("to_go")
    return (
        _figure("time left", left.get("seconds"), quantities.duration) if isinstance(left, Mapping) else None
    )


def _figure(name: str, given: Any, text: Callable[[float], str]) -> Figure | None:
    value = _value(given)
    if value is None:
        return None
    doubt = given if isinstance(given, Mapping) else {}
    return Figure(name, text(value), str(doubt.get("kind") or ""), str(doubt.get("note") or ""), value)


def _value(given: Any) -> float | None:
    value = given.get("value") if isinstance(given, Mapping) else given
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _kwh(value: float) -> str:
    return (
        f"{quantities.number(value, 3)} kWh" if value >= 0.1 else f"{quantities.number(value * 1000, 3)} Wh"
    )


def _flop(value: float) -> str:
    power = min(max(int(math.log10(max(1.0, abs(value)))) // 3, 0), len(_POWERS) - 1)
    return f"{quantities.number(value / 1000**power, 3)} {_POWERS[power]}FLOP"


def _kilograms(value: float) -> str:
    return f"{quantities.number(value, 3)} kg" if value >= 0.1 else f"{quantities.number(value * 1000, 3)} g"
