"""Where the time goes: every moment of a process belongs to exactly one state."""

from __future__ import annotations

import time
from dataclasses import dataclass

START, DATA, STEP, VALIDATION, CHECKPOINT, OTHER = (
    "start",
    "data",
    "step",
    "validation",
    "checkpoint",
    "other",
)
# Nobody works for the run: between two calls of a script that uses its trainer several times.
AWAY = "away"
STATES = (START, DATA, STEP, VALIDATION, CHECKPOINT, OTHER)

# How often a reading is tried again that a switch in the other thread came between.
_TRIES = 5
_TORN = 1e-4


@dataclass(frozen=True)
class Reading:
    """A clock at one moment.

    Attributes:
        seconds: Spent in each state, the present one included.
        state: The present one.
        lasting: Seconds since the last switch.
    """

    seconds: dict[str, float]
    state: str
    lasting: float

    @property
    def total(self) -> float:
        """Of all states but `away`."""
        return sum(self.seconds[state] for state in STATES)


class Clock:
    """Seconds by state. One thread switches, any may read. A switch is a look at the time and one addition.

    Args:
        age: Seconds that have passed already, all of them in `state`.
        state: The first one.
    """

    def __init__(self, age: float = 0.0, state: str = START) -> None:
        self.state = state
        self._since = self._began = time.perf_counter() - age
        self._seconds = dict.fromkeys((*STATES, AWAY), 0.0)

    def switch(self, state: str) -> str:
        """From now on it is `state`; returns what it was."""
        now = time.perf_counter()
        before = self.state
        self._seconds[before] += now - self._since
        self._since, self.state = now, state
        return before

    def read(self) -> Reading:
        """The parts add up to the whole unless a switch came between: then it is read again."""
        for _ in range(_TRIES):
            seconds, state, since = dict(self._seconds), self.state, self._since
            now = time.perf_counter()
            seconds[state] += now - since
            if abs(sum(seconds.values()) - (now - self._began)) < _TORN:
                break
        return Reading(seconds, state, now - since)
