"""When a run is to stop, and how long its workers are given for it."""

from __future__ import annotations

import signal
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager

from nimble_lightning.ops.durations import in_seconds
from nimble_lightning.ops.end_causes import Cause
from nimble_lightning.ops.exit_codes import ExitCode
from nimble_lightning.ops.signals import heard
from nimble_lightning.runs.cluster import schedulers
from nimble_lightning.runs.heartbeat import Beat, Phase
from nimble_lightning.settings import RetrySettings

# How long workers may take to commit and end when asked to; checkpoints taken before carry the guarantee.
STOP_SECONDS = 8.0
# A checkpoint that is being written is worth waiting for; whoever sent the signal may think otherwise.
SAVE_SECONDS = 300.0


class Stop:
    """What asks for an end: a signal to this process, or a clock.

    Args:
        retry: Its clocks; None: there are none.
        spent: Seconds that earlier starts of this run took.

    Attributes:
        reason: Why, once it is known.
        comes_back: Whoever stops it starts it again.
    """

    def __init__(self, retry: RetrySettings | None, spent: float = 0.0) -> None:
        now = time.monotonic()
        self._clocks = {
            name: now - before + in_seconds(most, name)
            for name, before in (("max_time_per_run", 0.0), ("max_time", spent))
            if (most := getattr(retry, name, None)) is not None
        }
        self._signals: list[signal.Signals] = []
        self._since: float | None = None
        self._code: int = ExitCode.TERMINATED
        self.reason = ""
        self.comes_back = False

    def listening(self) -> AbstractContextManager[None]:
        """While a run goes on, Ctrl-C and SIGTERM are wishes, not ends."""
        return heard(self._signals)

    def wanted(self) -> bool:
        """Whether the run is to stop; the first reason is the one that is told."""
        if not self.reason:
            over = [name for name, end in self._clocks.items() if time.monotonic() >= end]
            if self._signals:
                environment = schedulers.current()
                self.comes_back = environment is not None and environment.comes_back()
                name = self._signals[0].name
                name += " (its terminal was closed)" if name == "SIGHUP" else ""
                self.reason = f"stopped by {name}"
                if environment is not None and self.comes_back:
                    self.reason = f"preempted: {environment.name} starts it again"
            elif over:
                self.reason = f"stopped: its {over[0]} is over"
        if self.reason and self._since is None:
            self._since = time.monotonic()
        return bool(self.reason)

    def ask(self, reason: str, exit_code: int = ExitCode.TERMINATED) -> None:
        """Ask for an end for another reason; the first one counts."""
        if not self.wanted():
            self.reason, self._code = reason, exit_code

    def hear(self, number: signal.Signals) -> None:
        """A signal that arrived elsewhere is meant for this process as well."""
        self._signals.append(number)

    @property
    def leaves(self) -> bool:
        """Whether this machine is to be left, rather than the run to be stopped."""
        return bool(self._signals) and self._signals[0] != signal.SIGINT

    def impatient(self, beats: Mapping[int, Beat]) -> bool:
        """Whether those that still run are to be killed: asked again, or time is up."""
        if self._since is None:
            return False
        saving = any(beat.phase == Phase.SAVING for beat in beats.values())
        patience = SAVE_SECONDS if saving else STOP_SECONDS
        # A cluster sends SIGTERM several times and means the same by all of them.
        again = len(self._signals) > 1 and signal.SIGINT in self._signals
        return again or time.monotonic() - self._since > patience

    @property
    def cause(self) -> Cause:
        return Cause.PREEMPTED if self.comes_back else Cause.STOPPED

    @property
    def exit_code(self) -> int:
        return ExitCode.INTERRUPTED if self._signals[:1] == [signal.SIGINT] else self._code
