"""Tells a hang from a slow step. Pure: it is given beats and the time, and answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from nimble_lightning.errors import RequestError
from nimble_lightning.runs.heartbeat import Beat, Phase
from nimble_lightning.runs.outcome import Hang

# Learned limits: this, and so many times the slowest step. A step may hold somebody's slow evaluation.
FLOOR_SECONDS = 300.0
FACTOR = 10.0
# Before first batches (downloads, compilation), while saving and at the end.
PATIENT_SECONDS = 1800.0
# So many steps have to be seen before what they took says anything.
_LESSONS = 3
# Looks further apart than this mean that the supervisor itself stood still (Ctrl-Z, a busy machine), and so
# may have the workers.
_BLIND_SECONDS = 5.0

_STEADY = (Phase.TRAINING, Phase.VALIDATING)


class Watchdog:
    """Remembers how long steps take, over all attempts of a run.

    Args:
        limit: Seconds a step may take; "auto" learns it from the steps seen; None never finds a hang.
    """

    def __init__(self, limit: float | Literal["auto"] | None) -> None:
        if not (limit in ("auto", None) or (isinstance(limit, int | float) and limit > 0)):
            raise RequestError(f"hang_seconds={limit!r}: expected seconds, auto, or null for no limit.")
        self._limit = limit
        self._slowest = 0.0
        self._gaps = 0
        self._seen: dict[int, tuple[Beat, float]] = {}
        self._looked = float("-inf")
        self._forgiven = 0.0

    def start(self) -> None:
        """A new attempt begins: what its ranks did before no longer counts, how long steps take does."""
        self._seen.clear()
        self._looked, self._forgiven = float("-inf"), 0.0

    def look(self, beats: Mapping[int, Beat], now: float) -> Hang | None:
        """The rank silent for too long, if there is one."""
        if self._looked > float("-inf") and now - self._looked > _BLIND_SECONDS:
            self._forgiven = now
        self._looked = now
        silent: list[Hang] = []
        for rank, beat in beats.items():
            age = now - max(beat.time, self._forgiven)
            before = self._seen.get(rank)
            if before is not None and before[0].count != beat.count and before[0].phase in _STEADY:
                self._slowest = max(self._slowest, before[1])
                self._gaps += 1
            self._seen[rank] = (beat, age)
            if age > self.limit(beat.phase):
                silent.append(Hang(rank, beat.step, age))
        if not silent:
            return None
        # The one that stopped first is the one the others wait for. In case it was only slow, the next limit
        # that is learned is twice as long.
        hang = max(silent, key=lambda h: h.seconds)
        self._slowest = max(self._slowest, 2 * hang.seconds / FACTOR)
        return hang

    def limit(self, phase: Phase) -> float:
        if self._limit is None:
            return float("inf")
        learned = FLOOR_SECONDS + FACTOR * self._slowest
        limit = learned if self._limit == "auto" else float(self._limit)
        steady = phase in _STEADY and (self._limit != "auto" or self._gaps >= _LESSONS)
        return limit if steady else max(PATIENT_SECONDS, FACTOR * limit)
