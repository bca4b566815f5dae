"""One attempt on a machine that does not lead: it does what it is told, and tells how it went."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from typing import Any

from nimble_lightning.launch.multinode.assembly import Assembled
from nimble_lightning.launch.multinode.messages import OutOfTouch, evidence_in_words
from nimble_lightning.ops.exit_codes import ExitCode
from nimble_lightning.ops.run_files import read_json
from nimble_lightning.runs.heartbeat import Beat
from nimble_lightning.runs.job import Job
from nimble_lightning.runs.result import Result
from nimble_lightning.supervision.attempt import Attempt
from nimble_lightning.supervision.monitor import AttemptMonitor


class Follower:
    """What this machine does from one meeting to the next.

    Args:
        job: As it was asked for here; its workers read what the one that leads has written down.
        together: Who has met.
        monitor: Looks after the workers.
        workers: Processes on each machine.
    """

    def __init__(self, job: Job, together: Assembled, monitor: AttemptMonitor, workers: int) -> None:
        self._job = job
        self._together = together
        self._talk = together.talk
        self._monitor = monitor
        self._stop = monitor.stop
        self._workers = workers

    def attempt(self) -> Result | None:
        """Run the workers of this machine; the end of the run, or None if there is another attempt."""
        try:
            orders = self._hear("orders")
            if orders is not None:
                self._train(orders)
            decision = self._hear("decision")
            if decision is None:
                return None
            self._talk.tell("heard", {})
        except OutOfTouch:
            return None
        return self._result(decision) if decision["over"] else None

    def _train(self, orders: Mapping[str, Any]) -> None:
        attempt = Attempt(
            self._job, orders["attempt"], self._workers, orders["resume_from"], self._together.meeting
        )
        self._monitor.until_it_ends(attempt, self._look)
        interrupted = self._stop.wanted() and self._stop.exit_code == ExitCode.INTERRUPTED
        self._talk.tell("end", {**evidence_in_words(attempt.evidence()), "interrupted": interrupted})
        if self._stop.wanted():
            # Nobody has to wait until this machine has heard what follows.
            self._talk.tell("heard", {})

    def _look(self, beats: Mapping[int, Beat]) -> signal.Signals | None:
        try:
            self._talk.beat()
        except OutOfTouch:
            return signal.SIGKILL
        return signal.SIGKILL if self._lost() else None

    def _hear(self, what: str) -> dict[str, Any] | None:
        """What the machine that leads says; instead of orders it may have decided already."""
        leader = self._together.leader
        return self._talk.hear(
            what,
            leader,
            lambda: self._stop.wanted() or self._lost() or self._talk.told("decision", leader) is not None,
        )

    def _lost(self) -> bool:
        return self._together.leader in self._talk.silent()

    def _result(self, decision: Mapping[str, Any]) -> Result:
        ended = Result.of(self._job.folder.path, read_json(self._job.folder.run), "")
        ended.message, ended.exit_code = decision["message"], decision["exit_code"]
        return ended
