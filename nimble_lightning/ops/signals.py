"""What a signal asked for, remembered until a step is done. The handlers only set a flag."""

from __future__ import annotations

import signal
import threading
from types import FrameType


class Asked:
    """Requests that arrived by signal: SIGTERM stops, SIGUSR1 saves."""

    def __init__(self) -> None:
        self.stop = False
        self.save = False

    def listen(self) -> None:
        """Install the handlers; only a main thread may."""
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._on_stop)
            signal.signal(signal.SIGUSR1, self._on_save)

    def _on_stop(self, number: int, frame: FrameType | None) -> None:
        self.stop = True

    def _on_save(self, number: int, frame: FrameType | None) -> None:
        self.save = True


asked = Asked()
