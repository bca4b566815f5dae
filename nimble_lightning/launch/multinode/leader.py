"""The other machines, to the supervisor that leads them."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from nimble_lightning.errors import NimbleError
from nimble_lightning.launch.multinode.assembly import Assembled, Assembly
from nimble_lightning.launch.multinode.messages import (
    LOOK_SECONDS,
    OutOfTouch,
    SupervisorChannel,
    evidence_of_words,
    of_lost,
    together,
)
from nimble_lightning.ops.end_causes import Cause
from nimble_lightning.ops.exit_codes import ExitCode
from nimble_lightning.run_folder import RunFolder
from nimble_lightning.runs.heartbeat import Beat, Phase
from nimble_lightning.runs.outcome import Evidence, Outcome
from nimble_lightning.runs.result import Result
from nimble_lightning.supervision.stop_request import Stop
from nimble_lightning.supervision.worker_store import WorkerStore

# Whether further machines wait is looked up this often.
_NEWCOMERS_SECONDS = 2.0
# Once an attempt is over here, a machine that is still there says how it went there.
_MISSED_SECONDS = 3.0
# How late a shared disk may show what another machine has written.
_DISK_SECONDS = 60.0


class Leader:
    """Whom this machine leads: told what to do before an attempt and after it, and missed when they are gone.

    Args:
        folder: Of the run.
        gathering: Where machines come together.
        come: Waits for them, unless the run is to stop.
        first: Those that are here already.
        workers: Processes on each machine.
    """

    def __init__(
        self,
        folder: RunFolder,
        gathering: Assembly,
        come: Callable[[Stop], Assembled | None],
        first: Assembled,
        workers: int,
    ) -> None:
        self._folder = folder
        self._gathering = gathering
        self._come = come
        self._first: Assembled | None = first
        self._together = first
        self._workers = workers
        self._stop: Stop | None = None
        self._parted = False

    def meet(self, stop: Stop) -> WorkerStore | None:
        self._stop = stop
        try:
            now, self._first = self._first or self._come(stop), None
        except NimbleError as error:
            stop.ask(str(error), ExitCode.FAILED)
            now = None
        if now is None:
            return None
        self._together = now
        self._regroup = Stop(None)
        self._look_again = time.monotonic() + _NEWCOMERS_SECONDS
        return now.meeting

    def order(self, attempt: int, resume_from: str | None) -> None:
        self._tell("orders", attempt=attempt, resume_from=resume_from)

    def look(self, beats: Mapping[int, Beat]) -> signal.Signals | None:
        try:
            self._talk.beat()
        except OutOfTouch:
            return signal.SIGKILL
        if self._talk.silent():
            return signal.SIGKILL
        now = time.monotonic()
        # Workers that are only starting would have to be killed, and had nothing to commit.
        trains = any(beat.phase is Phase.TRAINING for beat in beats.values())
        if trains and now > self._look_again:
            self._look_again = now + _NEWCOMERS_SECONDS
            if self._gathering.more_wait():
                self._regroup.ask("further nodes came")
        if not self._regroup.wanted():
            return None
        return signal.SIGKILL if self._regroup.impatient(beats) else signal.SIGTERM

    def gather(self, evidence: Evidence) -> Evidence:
        found = together([evidence, *(self._findings(rank) for rank in self._others)])
        until = time.monotonic() + _DISK_SECONDS
        while found.finished and not self._folder.finished.exists() and time.monotonic() < until:
            time.sleep(LOOK_SECONDS)
        return found

    def reading(self, outcome: Outcome) -> Outcome:
        if self._regroup.wanted() and outcome.cause in (Cause.PREEMPTED, Cause.KILLED):
            return replace(outcome, cause=Cause.REGROUPED, reason=self._regroup.reason)
        return outcome

    def again(self) -> None:
        self._decide(over=False)

    def part(self, result: Result) -> None:
        """Where only this machine is left, by a signal to it, the others go on without it."""
        if self._parted:
            return
        self._parted = True
        if self._stop is not None and self._stop.leaves:
            self.again()
        else:
            self._decide(over=True, exit_code=result.exit_code, message=result.message)
            self._gathering.end()

    @property
    def _others(self) -> list[int]:
        return [rank for rank in range(len(self._together.meeting.hosts)) if rank != self._together.leader]

    @property
    def _talk(self) -> SupervisorChannel:
        return self._together.talk

    def _findings(self, rank: int) -> Evidence:
        """What a machine says of its workers, or that it says nothing any more."""
        ranks = range(rank * self._workers, (rank + 1) * self._workers)
        words = self._hear("end", rank)
        if words is None:
            return of_lost(ranks, self._together.meeting.hosts[rank])
        if words.pop("interrupted") and self._stop is not None:
            self._stop.hear(signal.SIGINT)
        return evidence_of_words(words)

    def _decide(self, **words: object) -> None:
        """The last word of a meeting; it has to be heard before this machine goes."""
        self._tell("decision", **words)
        for rank in self._others:
            self._hear("heard", rank)

    def _hear(self, what: str, rank: int) -> dict[str, Any] | None:
        with suppress(OutOfTouch):
            return self._talk.hear(what, rank, lambda: rank in self._talk.silent(_MISSED_SECONDS))
        return None

    def _tell(self, what: str, **words: object) -> None:
        with suppress(OutOfTouch):
            self._talk.tell(what, words)
