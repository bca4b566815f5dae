"""Runs a job to its end: starts workers, waits, judges, starts again or stops."""

from __future__ import annotations

import logging
import time
from dataclasses import replace

from nimble_lightning.errors import NimbleError
from nimble_lightning.ops.end_causes import Cause
from nimble_lightning.ops.events import EventKind
from nimble_lightning.runs import lifecycle
from nimble_lightning.runs.cluster import schedulers
from nimble_lightning.runs.lifecycle import LateVerdict, Lifecycle
from nimble_lightning.runtime import devices, forkserver, refreshing
from nimble_lightning.runtime.attempt import Attempt
from nimble_lightning.runtime.company import Alone, Company
from nimble_lightning.runtime.job import Job
from nimble_lightning.runtime.outcome import judge
from nimble_lightning.runtime.result import Result
from nimble_lightning.runtime.retrying import Decision, Policy
from nimble_lightning.runtime.stopping import Stop
from nimble_lightning.runtime.tending import LOOK_SECONDS, Tending

log = logging.getLogger(__name__)

# What people are told of an attempt that ended early; of any other cause, that it is tried again.
_TOLD_AS = {Cause.HANG: EventKind.HUNG, Cause.PREEMPTED: EventKind.PREEMPTED}


def supervise(job: Job, company: Company | None = None, late_verdict: LateVerdict | None = None) -> Result:
    """Run a job as the one that has its lock and keeps its record.

    Args:
        job: What to run.
        company: The machines it runs on; by default this one.
        late_verdict: Given once the workers have gone, where there is one.
    """
    return lifecycle.run(
        job,
        lambda life: Supervisor(life, company or Alone()).run(),
        anywhere=company is not None,
        late_verdict=late_verdict,
    )


class Supervisor:
    """The loop of attempts around one job.

    Args:
        life: Of its run.
        company: The machines it runs on.
    """

    def __init__(self, life: Lifecycle, company: Company) -> None:
        self.life = life
        self.job = life.job
        self.company = company
        retry = self.job.settings.callbacks.auto_retry
        self.policy = Policy.of(retry)
        self.stop = Stop(retry, life.record.spent)
        self.tending = Tending(self.job.folder, retry, self.stop)

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
            with refreshing.meanwhile(self.job):
                ended = self._attempts()
            self.company.part(ended)
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
                self.company.again()
            first = False
        return self._stopped()

    def _stopped(self) -> Result:
        ended = self.life.stop(self.stop.reason, self.stop.exit_code)
        ended.comes_back = self.stop.comes_back and not self.policy.preempted_in_vain(
            self.life.record.attempts, self.life.committed
        )
        return ended

    def _attempt(self, *, first: bool) -> Decision | None:
        meeting = self.company.meet(self.stop)
        if meeting is None:
            return None
        number, resume_from = self.life.begin(first_of_command=first, hosts=meeting.hosts)
        self.company.order(number, resume_from)
        workers = devices.count(self.job.settings.processes)
        # In the main thread, with which it ends; somebody may have killed it since the last attempt.
        forkserver.start(self.job.trainer)
        attempt = Attempt(self.job, number, workers, resume_from, meeting)
        self.tending.until_it_ends(attempt, self.company.look)
        self._require_folder()
        outcome = self.company.reading(judge(self.company.gather(attempt.evidence())))
        if self.stop.wanted() and outcome.cause is not Cause.FINISHED:
            outcome = replace(outcome, cause=self.stop.cause, reason=self.stop.reason)
        decision = self.policy.decide(outcome, self.life.committed)
        self.life.end(decision.outcome)
        return decision

    def _sleep(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until and not self.stop.wanted():
            # The others hear of it afterwards: up to then each of them can still be told of an end.
            self.company.look({})
            time.sleep(min(LOOK_SECONDS, seconds))

    def _require_folder(self) -> None:
        if self.tending.moved():
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
        self.life.tell(
            kind,
            cause=outcome.cause,
            reason=outcome.reason,
            rank=outcome.rank,
            step=outcome.step,
            count=self.policy.used,
            budget=self.policy.max_retries,
            wait=decision.wait,
        )

    def _next(self, decision: Decision) -> str:
        told = str(decision.outcome)
        if decision.outcome.cause is Cause.REGROUPED:
            return f"{told}: going on with them"
        if not decision.outcome.counts:
            return f"{told}: there is a new one, and the run goes on"
        wait = f"in {decision.wait:.1f} s" if decision.wait else "now"
        return f"{told}: trying again {wait} ({self.policy.used} of {self.policy.max_retries})"
