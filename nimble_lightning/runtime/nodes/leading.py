"""The other machines, to the supervisor that leads them."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import replace

from nimble_lightning.errors import NimbleError
from nimble_lightning.runtime.heartbeat import Beat
from nimble_lightning.runtime.meeting import Meeting
from nimble_lightning.runtime.nodes.findings import of_lost, of_words, together
from nimble_lightning.runtime.nodes.talk import LOOK_SECONDS, OutOfTouch, Talk
from nimble_lightning.runtime.nodes.together import Gathering, Together
from nimble_lightning.runtime.outcome import Evidence, Outcome
from nimble_lightning.runtime.result import FAILED, Result
from nimble_lightning.runtime.stopping import Stop

# Whether further machines wait is looked up this often.
_NEWCOMERS_SECONDS = 2.0
# Once an attempt is over here, a machine that is still there says how it went there.
_MISSED_SECONDS = 3.0


class Leading:
    """Whom this machine leads: told what to do before an attempt and after it, and missed when they are gone.

    Args:
        gathering: Where machines come together.
        come: Waits for them, unless the run is to stop.
        first: Those that are here already.
        workers: Processes on each machine.
    """

    def __init__(
        self,
        gathering: Gathering,
        come: Callable[[Stop], Together | None],
        first: Together,
        workers: int,
    ) -> None:
        self._gathering = gathering
        self._come = come
        self._first: Together | None = first
        self._together = first
        self._workers = workers
        self._stop: Stop | None = None

    def meet(self, stop: Stop) -> Meeting | None:
        self._stop = stop
        try:
            now, self._first = self._first or self._come(stop), None
        except NimbleError as error:
            stop.ask(str(error), FAILED)
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
        if now > self._look_again:
            self._look_again = now + _NEWCOMERS_SECONDS
            if self._gathering.more_wait():
                self._regroup.ask("further nodes came")
        if not self._regroup.wanted():
            return None
        return signal.SIGKILL if self._regroup.impatient(beats) else signal.SIGTERM

    def gather(self, evidence: Evidence) -> Evidence:
        found = [evidence]
        for rank, host in enumerate(self._together.meeting.hosts):
            if rank != self._together.leader:
                found.append(self._findings(rank, host))
        return together(found)

    def reading(self, outcome: Outcome) -> Outcome:
        if self._regroup.wanted() and outcome.cause == "preempted":
            return replace(outcome, cause="regrouped", reason=self._regroup.reason)
        return outcome

    def again(self) -> None:
        self._tell("decision", over=False)

    def part(self, result: Result) -> None:
        """Where only this machine is left, by a signal to it, the others go on without it."""
        if self._stop is not None and self._stop.leaves:
            self.again()
        else:
            self._tell("decision", over=True, exit_code=result.exit_code, message=result.message)

    @property
    def _talk(self) -> Talk:
        return self._together.talk

    def _findings(self, rank: int, host: str) -> Evidence:
        """What a machine says of its workers, or that it says nothing any more."""
        ranks = range(rank * self._workers, (rank + 1) * self._workers)
        try:
            words = self._talk.hear("end", rank, lambda: rank in self._talk.silent(_MISSED_SECONDS))
        except OutOfTouch:
            words = None
        if words is None:
            return of_lost(ranks, host)
        if words.pop("interrupted") and self._stop is not None:
            self._stop.hear(signal.SIGINT)
        return of_words(words)

    def _tell(self, what: str, **words: object) -> None:
        try:
            self._talk.tell(what, words)
            if what == "decision":
                # The last of this meeting: those who listen look for it now and then.
                time.sleep(2 * LOOK_SECONDS)
        except OutOfTouch:
            return
