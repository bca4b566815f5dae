"""A thread that keeps a process's piece of the account on disk: a kill takes a few seconds at most."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nimble_lightning.usage import rank_record as pieces
from nimble_lightning.usage.clock import Clock
from nimble_lightning.usage.energy import Energy
from nimble_lightning.usage.rank_record import RankRecord

log = logging.getLogger(__name__)

# What a kill may take: a small part of what the process has lived, seconds at most.
_SHARE, _LEAST, _MOST = 0.005, 0.1, 2.0


class UsageRecorder:
    """Writes a piece while it runs: ten times a second at first, in a long run every two seconds.

    Args:
        folder: Of the run.
        piece: The totals; whoever counts changes them, the thread only writes.
        clock: Where the time goes.
        energy: What it takes.
        look: Called before each writing, to bring the piece up to date.
        after: Called after each writing.
    """

    def __init__(
        self,
        folder: Path,
        piece: RankRecord,
        clock: Clock,
        energy: Energy,
        look: Callable[[], None] = lambda: None,
        after: Callable[[], None] = lambda: None,
    ) -> None:
        self.folder = folder
        self.piece = piece
        self._clock = clock
        self._energy = energy
        self._look = look
        self._after = after
        self._warned = False
        self._ended = threading.Event()
        self._writing = threading.Lock()
        self._thread: threading.Thread | None = None

    @property
    def running(self) -> bool:
        return self._thread is not None

    def start(self) -> None:
        """Begin, or go on after a `stop`."""
        if self._thread is None:
            self._ended.clear()
            self._thread = threading.Thread(target=self._run, name="nimble-usage", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Write for the last time and end the thread."""
        if self._thread is not None:
            self._ended.set()
            self._thread.join(timeout=_MOST)
            self._thread = None
            self.flush()

    def flush(self) -> None:
        """Bring the piece up to date and write it; a disk that is full costs a warning, said once."""
        with self._writing:
            self._look()
            self._energy.update()
            reading = self._clock.read()
            piece = self.piece
            piece.seconds = {state: round(value, 4) for state, value in reading.seconds.items()}
            piece.state, piece.lasting, piece.updated = reading.state, reading.lasting, time.time()
            piece.joules, piece.sources = dict(self._energy.joules), dict(self._energy.sources)
            self.guard(lambda: pieces.write(self.folder, piece))

    def guard(self, write: Callable[[], Any]) -> None:
        """Write something; what comes of a full disk is said once."""
        try:
            write()
        except OSError as error:
            if not self._warned:
                self._warned = True
                log.warning(
                    "the usage cannot be written to %s, the run goes on (said once): %s",
                    self.folder,
                    error.strerror or error,
                )

    def _run(self) -> None:
        while True:
            self.flush()
            self.guard(self._after)
            if self._ended.wait(min(_MOST, max(_LEAST, _SHARE * self.piece.length))):
                return
