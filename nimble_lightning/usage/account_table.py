"""An account as a person reads it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from nimble_lightning.usage.figures import value_of

_PREFIXES = ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def table(usage: Mapping[str, Any]) -> str:
    """The account in some lines; a figure that was not measured says so."""
    rows = [("time", _time(usage)), ("", _split(usage)), ("work", _work(usage)), ("energy", _energy(usage))]
    cost, carbon = usage["cost"], usage["co2e_kg"]
    if uncounted := usage.get("uncounted_steps"):
        rows.insert(3, ("", f"without what attempts that told nothing took for {uncounted:,} of the steps"))
    if (amount := value_of(cost["amount"])) is not None:
        rows.append(("cost", f"{money(amount, cost['currency'])} ({cost['amount']['note']})"))
    if (kilograms := value_of(carbon)) is not None:
        rows.append(("CO2e", f"{mass(kilograms)} ({carbon['kind']}: {carbon['note']})"))
    return "\n".join(["Usage", *(f"  {name:<8}{text}" for name, text in rows if text)])


def progress(usage: Mapping[str, Any]) -> str:
    """What it took up to now and what is left, in a line."""
    parts = [duration(usage["wall_seconds"])]
    parts += _spent(usage["energy_kwh"]["total"], usage["cost"]["amount"], usage)
    text = f"elapsed {', '.join(parts)}"
    left = usage.get("to_go")
    if left:
        ahead = [duration(left["seconds"]["value"]), *_spent(left["energy_kwh"], left["cost"], usage)]
        text += f"; left {', '.join(ahead)}"
    return text


def duration(seconds: float) -> str:
    """1.2 s, 4 min 05 s, 3 h 20 min."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def money(amount: float, currency: str | None) -> str:
    """An amount of money for people, to the cent or to two digits where it is less than one."""
    text = f"{amount:,.2f}" if amount >= 1 or not amount else f"{amount:.2g}"
    return f"{text} {currency}" if currency else text


def power(kwh: float) -> str:
    """An amount of energy for people, in kWh or Wh."""
    return f"{kwh:.3g} kWh" if kwh >= 0.1 else f"{kwh * 1000:.3g} Wh"


def mass(kilograms: float) -> str:
    """A mass for people, in kg or g."""
    return f"{kilograms:.3g} kg" if kilograms >= 0.1 else f"{kilograms * 1000:.3g} g"


def large(number: float) -> str:
    """A large number for people, with a prefix such as G or T."""
    size, prefix = next(((size, prefix) for size, prefix in _PREFIXES if number >= size), (1.0, ""))
    return f"{number / size:.3g}{' ' if prefix else ''}{prefix}"


def tokens_per_second(usage: Mapping[str, Any]) -> float | None:
    """While training, waits for data included; what was done again counts once, and so does its time."""
    seconds = usage["time"].get("step", 0.0) + usage["time"].get("data", 0.0)
    tokens = value_of(usage["tokens"])
    return tokens / seconds if tokens and seconds else None


def _time(usage: Mapping[str, Any]) -> str:
    devices = ", ".join(f"{device['count']} x {device['name']}" for device in usage["devices"])
    starts = f", {usage['attempts']} attempts" if usage["attempts"] > 1 else ""
    return f"{duration(usage['wall_seconds'])} on {devices}{starts}"


def _split(usage: Mapping[str, Any]) -> str:
    whole = usage["wall_seconds"]
    parts = sorted(usage["time"].items(), key=lambda item: -item[1])
    shares = [
        f"{name} {seconds / whole:.0%}" for name, seconds in parts if whole and seconds / whole >= 0.005
    ]
    return ", ".join(shares)


def _work(usage: Mapping[str, Any]) -> str:
    lost = f" ({usage['lost_steps']} repeated after restarts)" if usage["lost_steps"] else ""
    parts = [f"{usage['steps']:,} steps{lost}", f"{usage['samples']:,} samples"]
    if (tokens := value_of(usage["tokens"])) is not None:
        rate = tokens_per_second(usage)
        parts.append(f"{large(tokens)} tokens" + (f" ({large(rate)}/s)" if rate else ""))
    if (flops := value_of(usage["flops"])) is not None:
        parts.append(f"{large(flops)}FLOP")
    if (mfu := value_of(usage["mfu"])) is not None:
        parts.append(f"MFU {mfu:.1%}")
    if usage["peak_memory_bytes"]:
        parts.append(f"{usage['peak_memory_bytes'] / 2**30:.2f} GiB peak memory")
    return ", ".join(parts)


def _energy(usage: Mapping[str, Any]) -> str:
    energy = usage["energy_kwh"]
    if (together := value_of(energy["total"])) is None:
        return "unknown"
    parts = (
        f"{part} {power(value)} {energy[part]['kind']}"
        for part in ("gpu", "cpu", "ram")
        if (value := value_of(energy[part]))
    )
    note = f"; {energy['total']['note']}" if energy["total"]["note"] else ""
    return f"{power(together)} ({', '.join(parts)}{note})"


def _spent(energy: Any, cost: Any, usage: Mapping[str, Any]) -> Iterable[str]:
    if (kwh := value_of(energy)) is not None:
        yield power(kwh)
    if (amount := value_of(cost)) is not None:
        yield money(amount, usage["cost"]["currency"])
