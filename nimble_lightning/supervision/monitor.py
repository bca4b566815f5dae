"""Looks after the workers here while an attempt goes on: passes on what is asked, ends what hangs."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Mapping

from nimble_lightning.run_folder import RunFolder
from nimble_lightning.runs.heartbeat import Beat
from nimble_lightning.settings import RetrySettings
from nimble_lightning.supervision import hang_stacks
from nimble_lightning.supervision.attempt import Attempt
from nimble_lightning.supervision.stop_request import Stop
from nimble_lightning.supervision.watchdog import Watchdog

LOOK_SECONDS = 0.05

Look = Callable[[Mapping[int, Beat]], signal.Signals | None]


class AttemptMonitor:
    """What is the same in every attempt of a run.

    Attributes:
        stop: Whether the run is to stop, or this machine to leave it.

    Args:
        folder: Of the run.
        retry: How long a step may take; None: nobody looks for hangs.
        stop: See above.
    """

    def __init__(self, folder: RunFolder, retry: RetrySettings | None, stop: Stop) -> None:
        self._folder = folder
        self._identity = _identity(folder)
        self.stop = stop
        self._watchdog = Watchdog(None if retry is None else retry.hang_seconds)

    def moved(self) -> bool:
        """Whether the folder is not there any more, or another one is in its place."""
        return _identity(self._folder) != self._identity

    def until_it_ends(self, attempt: Attempt, look: Look) -> None:
        """Start the workers and stay with them.

        Args:
            attempt: Whose workers they are.
            look: Asked again and again what else to send to them.
        """
        self._watchdog.start()
        attempt.start()
        while not attempt.wait(LOOK_SECONDS):
            beats = attempt.look()
            wish = look(beats)
            if self.moved():
                attempt.signal(signal.SIGKILL)
            elif self.stop.wanted():
                # Again and again: a worker that is only starting hears the first call no better than none.
                attempt.signal(signal.SIGKILL if self.stop.impatient(beats) else signal.SIGTERM)
            elif wish is not None:
                attempt.signal(wish)
            elif (hang := self._watchdog.look(beats, time.monotonic())) is not None:
                attempt.hang = hang_stacks.explain(hang, attempt, self._folder)
                attempt.signal(signal.SIGKILL)


def _identity(folder: RunFolder) -> tuple[int, int] | None:
    try:
        found = os.stat(folder.path)
    except OSError:
        return None
    return found.st_dev, found.st_ino
