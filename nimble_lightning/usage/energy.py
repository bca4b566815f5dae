"""Joules by part of the machine, added up while a process lives."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Protocol

from nimble_lightning.usage import host_energy

JOULES_A_KWH = 3.6e6
COUNTER = "the energy counters of the GPUs"
POWER = "the power of the GPUs, added up"
RAPL = "the counters of the processors, which count everybody's work on the machine"
CPU = f"{host_energy.WATTS_A_CORE:g} W for each busy core"
RAM = f"{host_energy.WATTS_A_GIB:g} W for each GiB in use"
# How far each source can be trusted.
KINDS = {COUNTER: "measured", POWER: "estimated", RAPL: "measured", CPU: "estimated", RAM: "estimated"}


class EnergyMeter(Protocol):
    """What is asked of a GPU; either answer may be None."""

    def energy_joules(self) -> float | None: ...

    def power_watts(self) -> float | None: ...


class Energy:
    """Adds up what a process and its devices take; to be asked every few seconds.

    Args:
        gpus: Those of this process alone, so that no two processes count the same.
        rapl: The processors' counters; where they cannot be read, the time used is what there is.
        from_birth: Whether what the process has done before counts as well.
    """

    def __init__(
        self,
        gpus: Sequence[EnergyMeter] = (),
        rapl: host_energy.Rapl | None = None,
        *,
        from_birth: bool = False,
    ) -> None:
        self.joules: dict[str, float | None] = {"gpu": None, "cpu": 0.0, "ram": 0.0}
        self._rapl = rapl if rapl is not None and rapl.readable else None
        self.sources = {"gpu": COUNTER, "cpu": CPU if self._rapl is None else RAPL, "ram": RAM}
        self._gpus = [_Meter(gpu) for gpu in gpus]
        self._at = time.monotonic()
        self._busy = 0.0 if from_birth else host_energy.busy_seconds()

    def update(self) -> None:
        """Add what was taken since the last time."""
        now = time.monotonic()
        passed, self._at = now - self._at, now
        self._add("ram", host_energy.memory_used() / 2**30 * host_energy.WATTS_A_GIB * passed)
        busy = host_energy.busy_seconds()
        # A child that is gone without a trace takes its time with it.
        estimate = max(0.0, busy - self._busy) * host_energy.WATTS_A_CORE
        self._busy = busy
        self._add("cpu", estimate if self._rapl is None else self._rapl.joules())
        for meter in self._gpus:
            if (spent := meter.joules(passed)) is not None:
                self._add("gpu", spent)
            if meter.by_power:
                self.sources["gpu"] = POWER

    def _add(self, part: str, spent: float) -> None:
        self.joules[part] = (self.joules[part] or 0.0) + spent


class _Meter:
    """One GPU: its counter, or else its power times the time."""

    def __init__(self, gpu: EnergyMeter) -> None:
        self._gpu = gpu
        self._last = gpu.energy_joules()
        self._watts: Callable[[], float | None] = gpu.power_watts
        self._before = None if self._last is not None else self._watts()
        self.by_power = self._last is None

    def joules(self, passed: float) -> float | None:
        if not self.by_power:
            now = self._gpu.energy_joules()
            if now is None or self._last is None:
                return None
            spent, self._last = now - self._last, now
            # A driver that was loaded again counts from zero.
            return spent if spent >= 0 else now
        before, self._before = self._before, self._watts()
        known = [watts for watts in (before, self._before) if watts is not None]
        return sum(known) / len(known) * passed if known else None
