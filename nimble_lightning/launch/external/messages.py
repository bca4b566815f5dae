"""What ranks that somebody else has started tell each other before and after their training."""

from __future__ import annotations

import contextlib
import itertools
import json
import time
from typing import Any

from torch.distributed import DistError, PrefixStore

from nimble_lightning.errors import NimbleError
from nimble_lightning.launch.external import store
from nimble_lightning.launch.external.detect import RankIsolated, Ranks

# For the others to hear what the first one said last, before its store goes with it.
LEAVE_SECONDS = 3.0
_LOOK_SECONDS = 0.05

_numbers = itertools.count()


class Over(Exception):
    """The first rank has ended instead of saying what it was asked for."""


class RankMessages:
    """The first one asks all; the others ask the first.

    Nothing waits inside the store, where a signal would not be heard.

    Raises:
        RankIsolated: There is no place where they could meet.
    """

    def __init__(self, ranks: Ranks) -> None:
        self.ranks = ranks
        # A script may train more than once.
        self._name = f"nimble/{next(_numbers)}"
        self._place = store.find(ranks)
        self._store = PrefixStore(self._name, self._place.store)

    def tell(self, name: str, value: Any) -> None:
        self._store.set(name, json.dumps(value))

    def ask(self, name: str) -> Any:
        """What the first rank says under a name, as soon as it does.

        Raises:
            Over: It has ended instead.
            RankIsolated: It is gone.
        """
        try:
            while not self._store.check([name]):
                if name != "end" and self._store.check(["end"]):
                    raise Over
                time.sleep(_LOOK_SECONDS)
            return self._read(name)
        except DistError:
            raise RankIsolated(f"rank {self.ranks.rank}: {RankIsolated.GONE}") from None

    def gather(self, name: str, mine: Any) -> list[Any]:
        """What each rank says under a name, for the first one; the others only say theirs.

        Raises:
            NimbleError: One of them did not come.
        """
        self.tell(f"{name}/{self.ranks.rank}", mine)
        if not self.ranks.first:
            return []
        if missing := self._missing(name, store.SECONDS):
            raise NimbleError(
                f"rank {missing[0]} of {self.ranks.size} did not come within {store.SECONDS} s. "
                f"See what {self.ranks.launcher.name} says of it."
            )
        self._place.close_the_door()
        return [self._read(f"{name}/{rank}") for rank in range(self.ranks.size)]

    def keep(self, name: str, value: Any) -> Any:
        """The value that the first start of this command gave, whatever later ones give."""
        name, store = f"{self._name}/{name}", self._place.of_all_starts
        if not store.check([name]):
            store.set(name, json.dumps(value))
        return json.loads(store.get(name))

    def end(self, value: Any, seconds: float = LEAVE_SECONDS) -> None:
        """For the first rank: its last word, for which the others are given time."""
        self.tell("heard/0", True)
        self.tell("end", value)
        self._missing("heard", seconds)

    def ended(self) -> Any:
        """For the others: the last word of the first, waited for."""
        value = self.ask("end")
        self.tell(f"heard/{self.ranks.rank}", True)
        return value

    def wait(self, name: str, seconds: float) -> None:
        """Give the first rank so much time to say something."""
        until = time.monotonic() + seconds
        with contextlib.suppress(DistError):
            while not self._store.check([name]) and time.monotonic() < until:
                time.sleep(_LOOK_SECONDS)

    def is_gone(self) -> bool:
        """Whether the first rank has ended without a last word."""
        try:
            self._store.check(["end"])
        except DistError:
            return True
        return False

    def _read(self, name: str) -> Any:
        return json.loads(self._store.get(name))

    def _missing(self, name: str, seconds: float) -> list[int]:
        """The ranks that have not said anything under a name within that time."""
        until = time.monotonic() + seconds
        missing = list(range(self.ranks.size))
        while missing := [rank for rank in missing if not self._store.check([f"{name}/{rank}"])]:
            if time.monotonic() > until:
                break
            time.sleep(_LOOK_SECONDS)
        return missing
