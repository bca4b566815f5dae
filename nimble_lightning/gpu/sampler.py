"""Something done about once a second beside the training, at a price that has a limit."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

# Of one core. Where a look is dear (many cards, a slow driver) there are fewer of them.
_SHARE = 0.005
_PATIENCE_SECONDS = 2.0


class Sampler:
    """Calls `look` every `interval` seconds on a thread of its own, less often where that takes much work.

    Args:
        look: What is called, never twice at once.
        interval: Seconds.

    Attributes:
        cpu_seconds: What all looks together have cost.
    """

    def __init__(self, look: Callable[[], None], interval: float) -> None:
        self.cpu_seconds = 0.0
        self._look = look
        self._interval = interval
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="gpu-sampler", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> bool:
        """End it; returns False where a look hangs in the driver and has to be left behind."""
        self._ended.set()
        self._thread.join(_PATIENCE_SECONDS)
        return not self._thread.is_alive()

    def _run(self) -> None:
        wait = 0.0
        while not self._ended.wait(wait):
            begun, spent = time.monotonic(), time.thread_time()
            self._look()
            cost = time.thread_time() - spent
            self.cpu_seconds += cost
            wait = max(begun + self._interval - time.monotonic(), cost / _SHARE, 0.0)
