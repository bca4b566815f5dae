"""Runs a job to its end: starts workers, waits, judges, starts again or stops."""

from __future__ import annotations

import logging
import signal
import time
from dataclasses import replace
from typing import Any

from nimble_lightning.runtime import (
    concluding,
    devices,
    ending,
    entering,
    foreign_ranks,
    forkserver,
    notifying,
    refreshing,
    resuming,
    stacks,
)
from nimble_lightning.runtime.attempt import Attempt
from nimble_lightning.runtime.job import Job
from nimble_lightning.runtime.outcome import judge
from nimble_lightning.runtime.record import Record
from nimble_lightning.runtime.result import Result
from nimble_lightning.runtime.retrying import Decision, Policy
from nimble_lightning.runtime.stopping import Stop
from nimble_lightning.runtime.watchdog import Watchdog

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.05


def supervise(job: Job) -> Result:
    """Run a job until it is finished, hopeless or stopped. A finished one says so and is left as it is."""
    launch = str((job.config.get("launch") or {}).get("name", "local"))
    if (ranks := foreign_ranks.around(launch)) is not None:
        from nimble_lightning.runtime import one_of_many

        return one_of_many.run(job, ranks)
    if launch == "inline":
        from nimble_lightning.runtime.inline import run_inline

        return entering.work_on(job, run_inline)
    return entering.work_on(job, _with_workers)


def _with_workers(job: Job) -> Result:
    with notifying.telling(job):
        return Supervisor(job).run()


class Supervisor:
    """The loop of attempts around one job."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.record = Record(job.folder, job.run_id)
        settings = (job.resolved().get("callbacks") or {}).get("auto_retry")
        self.policy = Policy.from_config(settings)
        self.watchdog = Watchdog(None if settings is None else settings.get("hang_seconds", "auto"))
        self.stop = Stop(settings, self.record.spent)

    def run(self) -> Result:
        with self.stop.listening():
            forkserver.start(str(self.job.config.trainer))
            self._tell("started", resumed=bool(self.record.attempts))
            with refreshing.meanwhile(self.job):
                ended = self._attempts()
            return ending.complete(self.job, ended)

    def _attempts(self) -> Result:
        first = True
        while not self.stop.wanted():
            decision = self._attempt(first=first)
            if decision.outcome.cause != "finished" and self.stop.wanted():
                break
            if decision.wait is None:
                return concluding.concluded(self.job, self.record, decision.outcome, decision.why_not)
            log.warning("%s", self._next(decision))
            self._tell_retry(decision)
            self._sleep(decision.wait)
            first = False
        return concluding.stopped(self.job, self.record, self.stop.reason, self.stop.exit_code)

    def _attempt(self, *, first: bool) -> Decision:
        resume_from, step = resuming.find(self.job, first_of_command=first)
        number = self.record.begin(resume_from, step)
        attempt = Attempt(
            self.job, number, devices.count(self.job.config.get("lightning") or {}), resume_from
        )
        self.watchdog.start()
        attempt.start()
        while not attempt.wait(LOOK_SECONDS):
            self._look_after(attempt)
        outcome = judge(attempt.evidence())
        if self.stop.wanted() and outcome.cause != "finished":
            outcome = replace(outcome, cause="stopped", reason=self.stop.reason)
        committed = concluding.committed_step(self.job.folder)
        decision = self.policy.decide(outcome, committed)
        self.record.end(decision.outcome, committed if outcome.step is None else outcome.step)
        return decision

    def _look_after(self, attempt: Attempt) -> None:
        """Pass on what is asked, and end what hangs."""
        beats = attempt.look()
        if self.stop.wanted():
            # Again and again: a worker that is only just starting hears the first call no better than none.
            attempt.signal(signal.SIGKILL if self.stop.impatient(beats) else signal.SIGTERM)
        elif (hang := self.watchdog.look(beats, time.monotonic())) is not None:
            attempt.hang = stacks.explain(hang, attempt, self.job.folder)
            attempt.signal(signal.SIGKILL)

    def _sleep(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until and not self.stop.wanted():
            time.sleep(min(LOOK_SECONDS, seconds))

    # --- words --------------------------------------------------------------------------------

    def _tell(self, kind: str, **facts: Any) -> None:
        ending.tell(self.job, kind, attempt=len(self.record.attempts), **facts)

    def _tell_retry(self, decision: Decision) -> None:
        outcome = decision.outcome
        kind = {"hang": "hung", "preempted": "preempted"}.get(outcome.cause, "retrying")
        self._tell(
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
        wait = f"in {decision.wait:.1f} s" if decision.wait else "now"
        told = concluding.told(decision.outcome)
        return f"{told}: trying again {wait} ({self.policy.used} of {self.policy.max_retries})"
