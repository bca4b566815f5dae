"""A thread that pushes while training goes on: in order, never in the way, and not for ever."""

from __future__ import annotations

import logging
import threading
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
        slot: One that waits gives way to a later one of the same slot; "" never does.
        drop: Called once it is pushed, has failed or has given way.
    """

    what: str
    act: Callable[[], object]
    command: str
    slot: str = ""
    drop: Callable[[], object] = lambda: None


class Pusher:
    """Does pushes one after another. A push that fails is a warning with the command that repeats it."""

    def __init__(self) -> None:
        self._waiting: list[Push] = []
        self._changed = threading.Condition()
        self._busy: Push | None = None
        self._thread: threading.Thread | None = None
        self._closed = False

    def add(self, push: Push) -> None:
        """Have something pushed; returns at once."""
        with self._changed:
            replaced = [other for other in self._waiting if push.slot and other.slot == push.slot]
            self._waiting = [*(other for other in self._waiting if other not in replaced), push]
            self._changed.notify_all()
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="hub-push", daemon=True)
                self._thread.start()
        for other in replaced:
            other.drop()

    def finish(self, seconds: float) -> list[Push]:
        """Wait for what is left, but not longer than that; says and returns what was not pushed."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._busy and not self._waiting, timeout=seconds)
            left = [*([self._busy] if self._busy else []), *self._waiting]
            self._waiting = []
        for push in left:
            log.warning(
                "%s was not pushed: not done after %.0f s. To push it: %s", push.what, seconds, push.command
            )
        if self._thread is not None and not left:
            self._thread.join()
        return left

    def _work(self) -> None:
        while (push := self._next()) is not None:
            try:
                push.act()
            except Exception as error:  # the run goes on, and nothing local is lost
                log.warning("%s was not pushed: %s To push it: %s", push.what, error, push.command)
            finally:
                push.drop()
                with self._changed:
                    self._busy = None
                    self._changed.notify_all()

    def _next(self) -> Push | None:
        with self._changed:
            self._changed.wait_for(lambda: bool(self._waiting) or self._closed)
            self._busy = self._waiting.pop(0) if self._waiting else None
            return self._busy
