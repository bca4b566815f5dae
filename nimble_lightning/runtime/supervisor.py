"""Runs a job to its end: starts workers, waits, judges, starts again or stops."""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from typing import Any

from nimble_lightning.errors import RequestError
from nimble_lightning.runtime import (
    asked_validator,
    devices,
    ending,
    folder,
    forkserver,
    notifying,
    refreshing,
    replayed,
    result,
    resuming,
    signing,
)
from nimble_lightning.runtime.attempt import Attempt, wait_for_orphans
from nimble_lightning.runtime.company import Alone, Company
from nimble_lightning.runtime.job import Job
from nimble_lightning.runtime.lock import RunLock
from nimble_lightning.runtime.outcome import Outcome, judge
from nimble_lightning.runtime.record import Record
from nimble_lightning.runtime.result import Result
from nimble_lightning.runtime.retrying import Decision, Policy
from nimble_lightning.runtime.slurm import allocation
from nimble_lightning.runtime.stopping import Stop
from nimble_lightning.runtime.tending import LOOK_SECONDS, Tending

log = logging.getLogger(__name__)


def supervise(job: Job) -> Result:
    """Run a job until it is finished, hopeless or stopped. A finished one says so and is left as it is."""
    asked_validator.check(job.resolved())
    job.folder.create()
    _require_nodes(job)
    if (job.config.get("launch") or {}).get("name") == "multinode":
        from nimble_lightning.runtime.nodes.node import Node

        with signing.ready(job):
            return Node(job).run(lead)
    return lead(job, Alone())


def _require_nodes(job: Job) -> None:
    """One command on one machine gives one node."""
    nodes = int((job.config.get("lightning") or {}).get("num_nodes") or 1)
    if nodes > 1 and (job.config.get("launch") or {}).get("name") in ("local", "inline"):
        raise RequestError(
            f"lightning.num_nodes={nodes} needs as many machines: on each, the same command with "
            "launch=multinode launch.rdzv_endpoint=HOST:PORT run_id=NAME; or launch=slurm, once."
        )


def lead(job: Job, company: Company) -> Result:
    """Supervise a job as the one that has its lock and keeps its record."""
    with RunLock(job.folder.lock, anywhere=not isinstance(company, Alone)):
        wait_for_orphans(job.folder)
        if (done := result.done_before(job)) is not None:
            return done
        job.folder.finished.unlink(missing_ok=True)
        job.save()
        with signing.ready(job):
            if (job.config.get("launch") or {}).get("name") == "inline":
                from nimble_lightning.runtime.inline import run_inline

                return run_inline(job)
            with notifying.telling(job):
                return Supervisor(job, company).run()


class Supervisor:
    """The loop of attempts around one job.

    Args:
        job: What to run.
        company: The machines it runs on.
    """

    def __init__(self, job: Job, company: Company) -> None:
        self.job = job
        self.company = company
        self.record = Record(job.folder, job.run_id)
        settings = (job.resolved().get("callbacks") or {}).get("auto_retry")
        self.policy = Policy.from_config(settings)
        self.stop = Stop(settings, self.record.spent)
        self.tending = Tending(job.folder, settings, self.stop)

    def run(self) -> Result:
        with self.stop.listening():
            forkserver.start(str(self.job.config.trainer))
            self._tell("started", resumed=bool(self.record.attempts))
            with refreshing.meanwhile(self.job):
                ended = self._attempts()
            self.company.part(ended)
            return ending.complete(self.job, ended)

    def _attempts(self) -> Result:
        first = not allocation.begun(self.record.attempts)
        while not self.stop.wanted():
            decision = self._attempt(first=first)
            if decision is None:
                break
            if decision.wait is None or self.stop.wanted():
                return self._conclude(decision)
            log.warning("%s", self._next(decision))
            self._tell_retry(decision)
            self.company.again()
            self._sleep(decision.wait)
            first = False
        return self._stopped(self.stop.reason, self.stop.exit_code)

    def _attempt(self, *, first: bool) -> Decision | None:
        meeting = self.company.meet(self.stop)
        if meeting is None:
            return None
        resume_from, step = resuming.find(self.job, first_of_command=first)
        number = self.record.begin(resume_from, step, meeting.hosts)
        self.company.order(number, resume_from)
        workers = devices.count(self.job.config.get("lightning") or {})
        attempt = Attempt(self.job, number, workers, resume_from, meeting)
        self.tending.until_it_ends(attempt, self.company.look)
        outcome = self.company.reading(judge(self.company.gather(attempt.evidence())))
        if self.stop.wanted() and outcome.cause != "finished":
            outcome = replace(outcome, cause=self.stop.cause, reason=self.stop.reason)
        committed = self._committed_step()
        decision = self.policy.decide(outcome, committed)
        self.record.end(decision.outcome, committed if outcome.step is None else outcome.step)
        return decision

    def _sleep(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until and not self.stop.wanted():
            time.sleep(min(LOOK_SECONDS, seconds))

    def _committed_step(self) -> int:
        names = (path.stem.removeprefix("step-") for path in self.job.folder.steps.glob("step-*.ckpt"))
        return max((int(name) for name in names if name.isdigit()), default=0)

    # --- words --------------------------------------------------------------------------------

    def _tell(self, kind: str, **facts: Any) -> None:
        ending.tell(self.job, kind, attempt=len(self.record.attempts), **facts)

    def _tell_retry(self, decision: Decision) -> None:
        outcome = decision.outcome
        if outcome.cause == "regrouped":
            return
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
        if decision.outcome.cause == "regrouped":
            return f"{told(decision.outcome)}: going on with them"
        wait = f"in {decision.wait:.1f} s" if decision.wait else "now"
        return (
            f"{told(decision.outcome)}: trying again {wait} ({self.policy.used} of {self.policy.max_retries})"
        )

    def _conclude(self, decision: Decision) -> Result:
        outcome = decision.outcome
        if outcome.cause == "finished":
            flag = folder.read_json(self.job.folder.finished)
            self.record.update(
                status="finished",
                metrics=flag["metrics"],
                verdict=replayed.verdict(self.job) if replayed.wanted(self.job) else flag.get("verdict"),
                best_checkpoint=flag["best_checkpoint"],
                ended=time.time(),
            )
            return Result.of(self.job.folder.path, self.record.content, "finished")
        if self.stop.wanted():
            return self._stopped(self.stop.reason, self.stop.exit_code)
        if outcome.cause in ("stopped", "preempted"):
            return self._stopped(f"stopped: {outcome.reason}", result.TERMINATED)
        self.record.update(status="failed", message=outcome.reason, ended=time.time())
        message = f"failed: {told(outcome)}" + (f" ({decision.why_not})" if decision.why_not else "")
        ended = Result.of(self.job.folder.path, self.record.content, message)
        ended.exit_code = result.REFUSED if outcome.cause == "config" else result.FAILED
        return ended

    def _stopped(self, reason: str, exit_code: int) -> Result:
        self.record.update(status="stopped", message=reason, ended=time.time())
        step = self._committed_step()
        ended = Result.of(
            self.job.folder.path,
            self.record.content,
            f"{reason}, committed up to step {step}",
        )
        ended.exit_code = exit_code
        ended.comes_back = self.stop.comes_back and not allocation.barren(
            self.record.attempts, step, self.policy.max_retries
        )
        return ended


def told(outcome: Outcome) -> str:
    """An outcome in one line: who, where, why."""
    where = "" if outcome.rank is None else f"rank {outcome.rank}"
    where += "" if outcome.step is None else f" at step {outcome.step}"
    return f"{where}: {outcome.reason}" if where else outcome.reason
