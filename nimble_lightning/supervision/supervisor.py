"""Runs a job to its end: starts workers, waits, judges, starts again or stops."""

from __future__ import annotations

import logging
import time
from dataclasses import replace

from nimble_lightning.errors import NimbleError
from nimble_lightning.notifications.events import EventKind
from nimble_lightning.ops.end_causes import Cause
from nimble_lightning.runs import device_count, lifecycle
from nimble_lightning.runs.cluster import schedulers
from nimble_lightning.runs.completion import report_page
from nimble_lightning.runs.job import Job
from nimble_lightning.runs.lifecycle import LateVerdict, Lifecycle
from nimble_lightning.runs.outcome import judge
from nimble_lightning.runs.result import Result
from nimble_lightning.supervision.attempt import Attempt
from nimble_lightning.supervision.machines import Machines, SingleMachine
from nimble_lightning.supervision.monitor import LOOK_SECONDS, AttemptMonitor
from nimble_lightning.supervision.retry_policy import Decision, RetryPolicy
from nimble_lightning.supervision.stop_request import Stop
from nimble_lightning.worker.server import forkserver

log = logging.getLogger(__name__)

# What people are told of an attempt that ended early; of any other cause, that it is tried again.
_TOLD_AS = {Cause.HANG: EventKind.HUNG, Cause.PREEMPTED: EventKind.PREEMPTED}


def supervise(job: Job, machines: Machines | None = None, late_verdict: LateVerdict | None = None) -> Result:
    """Run a job as the one that has its lock and keeps its record.

    Args:
        job: What to run.
        machines: The machines it runs on; by default this one.
        late_verdict: Given once the workers have gone, where there is one.
    """
    return lifecycle.run(
        job,
        lambda life: Supervisor(life, machines or SingleMachine()).run(),
        anywhere=machines is not None,
        late_verdict=late_verdict,
    )


class Supervisor:
    """The loop of attempts around one job.

    Args:
        life: Of its run.
        machines: The machines it runs on.
    """

    def __init__(self, life: Lifecycle, machines: Machines) -> None:
        self.life = life
        self.job = life.job
        self.machines = machines
        retry = self.job.settings.callbacks.auto_retry
        self.policy = RetryPolicy.of(retry)
        self.stop = Stop(retry, life.record.spent)
        self.monitor = AttemptMonitor(self.job.folder, retry, self.stop)

    def run(self) -> Result:
        try:
            return self._run()
        except OSError:
            self._require_folder()
            raise

    def _run(self) -> Result:
        with self.stop.listening():
            forkserver.start(self.job.trainer)
            self.life.tell_start()
            with report_page.meanwhile(self.job):
                ended = self._attempts()
            self.machines.part(ended)
            return self.life.finish(ended)

    def _attempts(self) -> Result:
        first = not schedulers.begun(self.life.record.attempts)
        while not self.stop.wanted():
            decision = self._attempt(first=first)
            if decision is None or (decision.outcome.cause is not Cause.FINISHED and self.stop.wanted()):
                break
            if decision.wait is None:
                return self.life.conclude(decision.outcome, decision.why_not)
            log.warning("%s", self._next(decision))
            self._tell_retry(decision)
            self._sleep(decision.wait)
            if not self.stop.wanted():
                self.machines.again()
            first = False
        return self._stopped()

    def _stopped(self) -> Result:
        ended = self.life.stop(self.stop.reason, self.stop.exit_code)
        ended.comes_back = self.stop.comes_back and not self.policy.preempted_in_vain(
            self.life.record.attempts, self.life.committed
        )
        return ended

    def _attempt(self, *, first: bool) -> Decision | None:
        meeting = self.machines.meet(self.stop)
        if meeting is None:
            return None
        number, resume_from = self.life.begin(first_of_command=first, hosts=meeting.hosts)
        self.machines.order(number, resume_from)
        workers = device_count.count(self.job.settings.processes)
        # In the main thread, with which it ends; somebody may have killed it since the last attempt.
        forkserver.start(self.job.trainer)
        attempt = Attempt(self.job, number, workers, resume_from, meeting)
        self.monitor.until_it_ends(attempt, self.machines.look)
        self._require_folder()
        outcome = self.machines.reading(judge(self.machines.gather(attempt.evidence())))
        if self.stop.wanted() and outcome.cause is not Cause.FINISHED:
            outcome = replace(outcome, cause=self.stop.cause, reason=self.stop.reason)
        decision = self.policy.decide(outcome, self.life.committed)
        self.life.end(decision.outcome)
        return decision

    def _sleep(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until and not self.stop.wanted():
            # The others hear of it afterwards: up to then each of them can still be told of an end.
            self.machines.look({})
            time.sleep(min(LOOK_SECONDS, seconds))

    def _require_folder(self) -> None:
        if self.monitor.moved():
            raise NimbleError(
                f"The run folder {self.job.folder.path} was moved or deleted while its run went on, which "
                "ended it.\nMove it back, and the same command goes on from its last checkpoint."
            )

    # --- words --------------------------------------------------------------------------------

    def _tell_retry(self, decision: Decision) -> None:
        outcome = decision.outcome
        if outcome.cause is Cause.REGROUPED:
            return
        kind = _TOLD_AS.get(outcome.cause, EventKind.RETRYING)
        budget = {"count": self.policy.used, "budget": self.policy.max_retries}
        self.life.tell_retry(kind, outcome, **budget, wait=decision.wait)

    def _next(self, decision: Decision) -> str:
        told = str(decision.outcome)
        if decision.outcome.cause is Cause.REGROUPED:
            return f"{told}: going on with them"
        if not decision.outcome.counts:
            return f"{told}: there is a new one, and the run goes on"
        wait = f"in {decision.wait:.1f} s" if decision.wait else "now"
        return f"{told}: trying again {wait} ({self.policy.used} of {self.policy.max_retries})"
