"""When an address is sent what: retries, a breaker, messages that sum up. Knows no network and no clock."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from nimble_lightning.notifications.events import Event

RETRY_SECONDS = (1.0, 5.0, 25.0, 125.0)
COALESCE_SECONDS = 10.0
_JITTER = 0.25


@dataclass(frozen=True)
class Numbered:
    """An event and its place in the outbox, by which people can see that none is missing."""

    number: int
    event: Event


@dataclass(frozen=True)
class Batch:
    """Events of one kind that go into one message."""

    kind: str
    events: tuple[Numbered, ...]

    @property
    def ids(self) -> list[str]:
        return [each.event.id for each in self.events]


class Breaker:
    """Keeps an address that fails from being tried all the time, and from costing the others anything.

    After each failure the wait grows; once all waits were in vain it is open: one try per longest wait, until
    one gets through. It never gives up, since a network may be down for a night.
    """

    def __init__(self, chance: Callable[[], float] = random.random) -> None:
        self.failures = 0
        self.next_try = 0.0
        self._chance = chance

    @property
    def is_open(self) -> bool:
        return self.failures > len(RETRY_SECONDS)

    def failed(self, now: float) -> None:
        wait = RETRY_SECONDS[min(self.failures, len(RETRY_SECONDS) - 1)]
        self.failures += 1
        # Many runs that lost the same service together must not come back to it together.
        self.next_try = now + wait * (1 - _JITTER + 2 * _JITTER * self._chance())

    def succeeded(self) -> None:
        self.failures, self.next_try = 0, 0.0


class Lane:
    """What one address still has to be told.

    The first event of a kind goes out at once; those that follow within `coalesce` seconds wait and go
    together. After an outage everything of a kind is one message.

    Args:
        coalesce: At most one message a kind in so many seconds.
        chance: Numbers from 0 to 1, for the jitter of retries.
    """

    def __init__(
        self, coalesce: float = COALESCE_SECONDS, chance: Callable[[], float] = random.random
    ) -> None:
        self.breaker = Breaker(chance)
        self._coalesce = coalesce
        self._pending: dict[str, list[Numbered]] = {}
        self._sent: dict[str, float] = {}

    @property
    def pending(self) -> int:
        """How many events were not delivered yet."""
        return sum(map(len, self._pending.values()))

    def add(self, event: Numbered) -> None:
        self._pending.setdefault(event.event.kind, []).append(event)

    def was_sent(self, kind: str, when: float) -> None:
        """Remember a message, of this process or one before it."""
        self._sent[kind] = max(when, self._sent.get(kind, 0.0))

    def next_time(self, now: float) -> float | None:
        """The moment from which something is due; None when there is nothing to send."""
        moments = [self._allowed(kind, now) for kind in self._pending]
        return max(min(moments), self.breaker.next_try) if moments else None

    def due(self, now: float) -> Batch | None:
        """What to send now: of the kinds that may be sent, the one that has waited longest."""
        if now < self.breaker.next_try:
            return None
        kinds = [kind for kind in self._pending if self._allowed(kind, now) <= now]
        if not kinds:
            return None
        kind = min(kinds, key=lambda kind: self._pending[kind][0].number)
        return Batch(kind, tuple(self._pending[kind]))

    def succeeded(self, batch: Batch, now: float) -> None:
        self.breaker.succeeded()
        self.was_sent(batch.kind, now)
        gone = set(batch.ids)
        left = [each for each in self._pending.get(batch.kind, []) if each.event.id not in gone]
        if left:
            self._pending[batch.kind] = left
        else:
            self._pending.pop(batch.kind, None)

    def failed(self, now: float) -> None:
        self.breaker.failed(now)

    def _allowed(self, kind: str, now: float) -> float:
        # A clock that was set back must not silence a kind.
        last = min(self._sent.get(kind, 0.0), now)
        return last + self._coalesce if last else 0.0


def numbers(events: Sequence[Numbered]) -> str:
    """`#3`, or `#3-#7 #9` for several."""
    runs: list[list[int]] = []
    for number in sorted(each.number for each in events):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return " ".join(f"#{first}" if first == last else f"#{first}-#{last}" for first, last in runs)
