"""Whether, and when, a run that ended too early is started again."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from nimble_lightning.runtime.outcome import Outcome

_NEVER = ("finished", "stopped", "config")


@dataclass
class Policy:
    """A budget that progress refills.

    A failure that repeats at the same place is a property of the program, not of the weather: it stops after the second time.
    So do two attempts in a row that committed nothing new.
    """

    max_retries: int = 3
    base_seconds: float = 0.0
    most_seconds: float = 60.0
    used: int = 0
    _fingerprints: list[str] = field(default_factory=list)
    _best_step: int = 0
    _barren: int = 0

    @classmethod
    def from_config(cls, config: Mapping[str, Any] | None) -> Policy:
        """The budget of `callbacks.auto_retry`; without that callback nothing is retried."""
        if config is None:
            return cls(max_retries=0)
        return cls(max_retries=int(config.get("max_retries", cls.max_retries)))

    def next_wait(self, outcome: Outcome, committed_step: int) -> float | None:
        """Seconds until the next attempt; None where there should be none."""
        if outcome.cause in _NEVER or outcome.cause == "deterministic" and outcome.fingerprint in self._fingerprints:
            return None
        progressed = committed_step > self._best_step
        self._best_step = max(self._best_step, committed_step)
        self.used = 1 if progressed else self.used + 1
        self._barren = 0 if progressed else self._barren + 1
        repeated = outcome.fingerprint in self._fingerprints and not progressed
        self._fingerprints.append(outcome.fingerprint)
        if self.used > self.max_retries or (repeated and outcome.cause != "killed"):
            return None
        if self._barren == 1 or progressed:
            return self.base_seconds
        return min(self.most_seconds, 2.0 ** (self._barren - 2)) * random.uniform(0.5, 1.5)
