"""Runs a job to its end: starts workers, waits, judges, starts again or stops."""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nimble_lightning.runtime import devices, forkserver, result, resuming
from nimble_lightning.runtime.attempt import Attempt
from nimble_lightning.runtime.folder import read_json
from nimble_lightning.runtime.job import Job
from nimble_lightning.runtime.lock import RunLock
from nimble_lightning.runtime.outcome import Outcome, judge
from nimble_lightning.runtime.record import Record
from nimble_lightning.runtime.result import Result
from nimble_lightning.runtime.retrying import Policy

log = logging.getLogger(__name__)

# How long workers may take to commit and end when asked to; checkpoints taken before carry the guarantee.
STOP_SECONDS = 8.0


def supervise(job: Job) -> Result:
    """Run a job until it is finished, hopeless or stopped. A finished one says so and is left as it is."""
    job.folder.create()
    with RunLock(job.folder.lock):
        done = read_json(job.folder.run)
        if done.get("status") == "finished" and job.folder.finished.exists() and job.config.get("resume") != "never":
            return as_result(job, done, f"The run {job.run_id} is finished already.")
        job.folder.finished.unlink(missing_ok=True)
        job.save()
        if (job.config.get("launch") or {}).get("name") == "inline":
            from nimble_lightning.runtime.inline import run_inline

            return run_inline(job)
        return Supervisor(job).run()


class Supervisor:
    """The loop of attempts around one job."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.record = Record(job.folder, job.run_id)
        self.policy = Policy.from_config((job.config.get("callbacks") or {}).get("auto_retry"))
        self._asked: list[int] = []

    def run(self) -> Result:
        with self._signals():
            forkserver.start(str(self.job.config.trainer))
            outcome = self._attempt(first=True)
            while (wait := self.policy.next_wait(outcome, self._committed_step())) is not None and not self._asked:
                log.warning("%s: trying again in %.1f s (%d of %d)", outcome.reason, wait, self.policy.used, self.policy.max_retries)
                self._sleep(wait)
                if self._asked:
                    break
                outcome = self._attempt(first=False)
        return self._conclude(outcome)

    def _attempt(self, *, first: bool) -> Outcome:
        resume_from, step = resuming.find(self.job, first_of_command=first)
        number = self.record.begin(resume_from, step)
        workers = devices.count(self.job.config.get("lightning") or {})
        attempt = Attempt(self.job, number, workers, resume_from)
        attempt.start()
        self._wait(attempt)
        outcome = judge(self.job.folder, number, attempt.exit_codes, attempt.trouble)
        self.record.end(outcome, outcome.step if outcome.step is not None else self._committed_step())
        return outcome

    def _wait(self, attempt: Attempt) -> None:
        """Pass on what signals ask: the first lets the workers commit, the second, or time, ends them."""
        asked_at: float | None = None
        while not attempt.wait(0.05):
            if self._asked and asked_at is None:
                asked_at = time.monotonic()
                attempt.signal(signal.SIGTERM)
            elif asked_at is not None and (len(self._asked) > 1 or time.monotonic() - asked_at > STOP_SECONDS):
                attempt.signal(signal.SIGKILL)

    def _sleep(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until and not self._asked:
            time.sleep(min(0.05, seconds))

    def _committed_step(self) -> int:
        steps = [int(p.stem.removeprefix("step-")) for p in self.job.folder.steps.glob("step-*.ckpt") if p.stem[5:].isdigit()]
        return max(steps, default=0)

    def _conclude(self, outcome: Outcome) -> Result:
        folder = self.job.folder
        if outcome.cause == "finished":
            flag = read_json(folder.finished)
            self.record.update(status="finished", metrics=flag["metrics"], best_checkpoint=flag["best_checkpoint"], ended=time.time())
            return as_result(self.job, self.record.content, "finished")
        if self._asked or outcome.cause == "stopped":
            name = signal.Signals(self._asked[0]).name if self._asked else "SIGTERM"
            self.record.update(status="stopped", message=f"stopped by {name}", ended=time.time())
            ended = as_result(self.job, self.record.content, f"stopped by {name} at step {self._committed_step()}")
            ended.exit_code = result.INTERRUPTED if name == "SIGINT" else result.TERMINATED
            return ended
        self.record.update(status="failed", message=outcome.reason, ended=time.time())
        ended = as_result(self.job, self.record.content, self._why_stopped(outcome))
        ended.exit_code = result.REFUSED if outcome.cause == "config" else result.FAILED
        return ended

    def _why_stopped(self, outcome: Outcome) -> str:
        where = "" if outcome.rank is None else f" on rank {outcome.rank}" + ("" if outcome.step is None else f" at step {outcome.step}")
        return f"failed{where}: {outcome.reason}"

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """While a run goes on, Ctrl-C and SIGTERM are wishes, not ends."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        numbers = (signal.SIGINT, signal.SIGTERM)
        before = {number: signal.signal(number, lambda n, _: self._asked.append(n)) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def as_result(job: Job, content: dict[str, Any], message: str) -> Result:
    best = content.get("best_checkpoint")
    start, end = content.get("started", 0.0), content.get("ended", 0.0)
    return Result(
        status=content["status"],
        metrics=content.get("metrics", {}),
        folder=job.folder.path,
        best_checkpoint=Path(best) if best else None,
        message=message,
        attempts=content.get("attempts", []),
        seconds=max(0.0, end - start),
    )
