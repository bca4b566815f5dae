"""A thread that pushes while training goes on: in order, never in the way, and not for ever."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Push:
    """Something to push.

    Attributes:
        what: In words, for the warning.
        act: Pushes it; raises where it cannot.
        command: What does the same by hand.
        slot: One that waits is replaced by a later one of the same slot; "" is never replaced.
    """

    what: str
    act: Callable[[], object]
    command: str
    slot: str = ""


class Pusher:
    """Does pushes one after another. A push that fails is a warning with the command that repeats it."""

    def __init__(self) -> None:
        self._waiting: deque[Push] = deque()
        self._changed = threading.Condition()
        self._busy = False
        self._thread: threading.Thread | None = None
        self._closed = False

    def add(self, push: Push) -> None:
        """Have something pushed; returns at once."""
        with self._changed:
            if push.slot:
                self._waiting = deque(other for other in self._waiting if other.slot != push.slot)
            self._waiting.append(push)
            self._changed.notify_all()
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="hub-push", daemon=True)
                self._thread.start()

    def finish(self, seconds: float) -> list[Push]:
        """Wait for what is left, but not longer than that; returns and names what was not pushed."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._busy and not self._waiting, timeout=seconds)
            left = list(self._waiting)
            self._waiting.clear()
            late = self._busy
        for push in left:
            log.warning("%s was not pushed: there was no time left. To push it: %s", push.what, push.command)
        if late:
            log.warning("a push is not done after %.0f s and is left to itself", seconds)
        elif self._thread is not None:
            self._thread.join(timeout=seconds)
        return left

    def _work(self) -> None:
        while (push := self._next()) is not None:
            try:
                push.act()
            except Exception as error:  # the run goes on, and nothing local is lost
                log.warning("%s was not pushed: %s To push it: %s", push.what, error, push.command)
            with self._changed:
                self._busy = False
                self._changed.notify_all()

    def _next(self) -> Push | None:
        with self._changed:
            self._changed.wait_for(lambda: bool(self._waiting) or self._closed)
            if not self._waiting:
                return None
            self._busy = True
            return self._waiting.popleft()
