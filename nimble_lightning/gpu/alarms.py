"""What is wrong with a GPU while it trains: each thing is said once, and again only after it had passed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

_FULL = 0.95
_IDLE_PERCENT = 5.0
_SIGNS_OF_LIFE = ("utilization", "memory_used", "temperature", "power")


@dataclass(frozen=True)
class Alarm:
    """Something a person should know.

    Attributes:
        name: slowdown, heat, ecc, memory, idle or lost.
        device: CUDA's number.
        text: A sentence.
    """

    name: str
    device: int
    text: str


@dataclass
class _Memory:
    """What is remembered of a device."""

    errors: int | None = None
    pending: bool | None = None
    idle_since: float | None = None
    lived: bool = False
    raised: dict[str, float] = field(default_factory=dict)


class Alarms:
    """Looks at one reading of the devices after another.

    Args:
        idle_seconds: How long a device may wait while training.
        quiet_seconds: How long nothing must be seen of what was said before it may be said again; what is
            right at a limit would otherwise be said all the time.
    """

    def __init__(self, idle_seconds: float = 60.0, quiet_seconds: float = 60.0) -> None:
        self._idle_seconds = idle_seconds
        self._quiet_seconds = quiet_seconds
        self._devices: dict[int, _Memory] = {}

    def look(self, devices: Sequence[Mapping[str, Any]], now: float, *, training: bool) -> list[Alarm]:
        """The alarms that are new.

        Args:
            devices: A reading of each, as in `gpu.jsonl`; what is unknown raises no alarm.
            now: Seconds on a clock that is never set.
            training: Whether the devices should have something to do.
        """
        return [alarm for device in devices for alarm in self._new(device, now, training)]

    def _new(self, device: Mapping[str, Any], now: float, training: bool) -> Iterator[Alarm]:
        index = int(device["index"])
        memory = self._devices.setdefault(index, _Memory())
        self._remember_idleness(device, memory, now, training)
        present = dict(self._present(device, memory, now))
        for name, text in present.items():
            if name not in memory.raised:
                yield Alarm(name, index, f"GPU {index} {text}")
            memory.raised[name] = now
        for name in [n for n, seen in memory.raised.items() if now - seen > self._quiet_seconds]:
            del memory.raised[name]

    def _present(self, device: Mapping[str, Any], memory: _Memory, now: float) -> Iterator[tuple[str, str]]:
        yield from _clocks(device)
        yield from _errors(device, memory)
        used, total = device.get("memory_used"), device.get("memory_total")
        if used is not None and total and used > _FULL * total:
            yield "memory", f"is full: {used / 1e9:.1f} of {total / 1e9:.1f} GB used"
        if memory.idle_since is not None and now - memory.idle_since >= self._idle_seconds:
            waited = f"{now - memory.idle_since:.0f} s"
            yield (
                "idle",
                f"has been idle for {waited} while training: the loader is the bottleneck; give it more "
                "workers or less to do",
            )
        alive = any(device.get(sign) is not None for sign in _SIGNS_OF_LIFE)
        if memory.lived and not alive:
            yield "lost", "does not answer any more; the driver may have lost it (see dmesg for Xid errors)"
        memory.lived = memory.lived or alive

    def _remember_idleness(
        self, device: Mapping[str, Any], memory: _Memory, now: float, training: bool
    ) -> None:
        busy = device.get("utilization")
        if not training or busy is None or busy >= _IDLE_PERCENT:
            memory.idle_since = None
        elif memory.idle_since is None:
            memory.idle_since = now


def _clocks(device: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    reasons = set(device.get("throttle") or ())
    celsius = device.get("temperature")
    at = "" if celsius is None else f" at {celsius:.0f} °C"
    if reasons & {"hardware_thermal", "software_thermal"}:
        yield "heat", f"is slowed down by heat{at}: look at its cooling"
    elif "power_brake" in reasons:
        yield "slowdown", "is slowed down by its power supply (power brake)"
    elif "hardware_slowdown" in reasons:
        yield "slowdown", f"is slowed down by its hardware{at}: too hot, or too little power"


def _errors(device: Mapping[str, Any], memory: _Memory) -> Iterator[tuple[str, str]]:
    """Only what is new: what was there at the start is among the warnings at the start."""
    errors, pending = device.get("ecc_errors"), device.get("remap_pending")
    if errors is not None:
        before, memory.errors = memory.errors, errors
        if before is not None and errors > before:
            yield (
                "ecc",
                f"has {errors - before} new memory errors that could not be corrected: results may be wrong",
            )
            return
    if pending is not None:
        waiting, memory.pending = memory.pending, pending
        if waiting is False and pending:
            yield "ecc", "has bad memory that a reset would take out of use (row remapping pending)"
