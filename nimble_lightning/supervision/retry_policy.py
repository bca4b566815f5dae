"""Whether, and when, a run that ended too early is started again."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from nimble_lightning.ops.end_causes import Cause
from nimble_lightning.runs.outcome import Outcome
from nimble_lightning.settings import RetrySettings

# Attempts in a row that may fail alike without a new commit, when the failure comes from the program.
_MOST_BARREN = 3
# So often in a row what does not count is for nothing; a server that always dies is a failure after all.
_MOST_UNCOUNTED = 20


@dataclass(frozen=True)
class Decision:
    """What follows from an outcome.

    Attributes:
        outcome: As it is seen knowing the earlier ones.
        wait: Seconds until the next attempt; None where there is none.
        why_not: Why there is none, where that needs saying.
    """

    outcome: Outcome
    wait: float | None = None
    why_not: str = ""


@dataclass
class RetryPolicy:
    """A budget that progress refills.

    A failure that comes again at the same step is a property of the program, not of the weather: it ends the
    run after the second time. Kills, preemptions and lost connections come from outside; they may use
    the whole budget, whatever step they hit.

    Args:
        max_retries: Starts in a row without a newly committed step, besides the first.
        most_seconds: The longest wait.
        chance: Spreads waits, so that a thousand runs do not come back in the same second.
    """

    max_retries: int = 5
    most_seconds: float = 60.0
    chance: random.Random = field(default_factory=random.Random)
    used: int = 0
    _failures: list[tuple[str, int | None]] = field(default_factory=list)
    _committed: int = 0
    _uncounted: int = 0

    @classmethod
    def of(cls, retry: RetrySettings | None) -> RetryPolicy:
        """The budget of `callbacks.auto_retry`; without that callback nothing is retried."""
        return cls(max_retries=0 if retry is None else int(retry.max_retries))

    def decide(self, outcome: Outcome, committed: int) -> Decision:
        """What to do after an attempt, with the newest committed step."""
        if not outcome.cause.is_retried:
            return Decision(outcome)
        if outcome.cause is Cause.REGROUPED:
            # Nothing failed: further machines came.
            return Decision(outcome, 0.0)
        if not outcome.counts and self._uncounted < _MOST_UNCOUNTED:
            self._uncounted += 1
            return Decision(outcome, 0.0)
        failure = (outcome.fingerprint, outcome.step)
        again = bool(outcome.fingerprint) and failure in self._failures
        progressed = committed > self._committed
        self._committed = max(self._committed, committed)
        self._uncounted = 0
        self.used = 1 if progressed else self.used + 1
        if progressed:
            self._failures.clear()
        self._failures.append(failure)
        if again:
            return Decision(
                replace(outcome, cause=Cause.DETERMINISTIC),
                why_not="the same happened before at the same step",
            )
        if self.used > self.max_retries:
            return Decision(
                outcome,
                why_not=f"tried {self.used} times without getting further" if self.max_retries else "",
            )
        if outcome.fingerprint and self._barren(outcome.fingerprint):
            return Decision(
                outcome, why_not=f"{_MOST_BARREN} attempts in a row failed alike without getting further"
            )
        return Decision(outcome, self._wait(outcome.cause))

    def preempted_in_vain(self, attempts: Sequence[Mapping[str, Any]], committed: int) -> bool:
        """Whether as many starts in a row as may fail were all ended from outside, and none got any further.

        Args:
            attempts: Of all starts of the run, as they are on record.
            committed: The newest committed step.
        """
        last = attempts[-(self.max_retries + 1) :]
        return len(last) > self.max_retries and all(
            attempt.get("cause") == Cause.PREEMPTED and attempt["first_step"] == committed for attempt in last
        )

    def _barren(self, fingerprint: str) -> bool:
        last = self._failures[-_MOST_BARREN:]
        return self.used >= _MOST_BARREN and all(f == fingerprint for f, _ in last)

    def _wait(self, cause: Cause) -> float:
        """At once the first time; then longer and longer, most of all for a network that has to come back."""
        if self.used == 1:
            return 0.0
        return min(self.most_seconds, cause.growth ** (self.used - 2)) * self.chance.uniform(0.5, 1.5)
