"""Two ranks as two threads of a process: their collectives need no network."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any


class TwoThreads:
    """What they tell each other."""

    def __init__(self) -> None:
        self._rank = threading.local()
        self._barrier = threading.Barrier(2, timeout=20)
        self._told: list[Any] = [None, None]

    def run(self, task: Callable[[int], Any]) -> list[Any]:
        with ThreadPoolExecutor(2) as pool:
            return list(pool.map(partial(self._as_rank, task), range(2)))

    def _as_rank(self, task: Callable[[int], Any], rank: int) -> Any:
        self._rank.number = rank
        return task(rank)

    def everyones(self, value: Any) -> list[Any]:
        self._told[self._rank.number] = value
        self._barrier.wait()
        found = list(self._told)
        self._barrier.wait()
        return found

    def first(self, value: Any) -> list[Any]:
        """As `gathered_by_first`."""
        found = self.everyones(value)
        return found if self._rank.number == 0 else []
