"""What the record, the exit code and people are told once nothing is tried any more."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from nimble_lightning.ops.end_causes import Cause
from nimble_lightning.ops.exit_codes import ExitCode
from nimble_lightning.ops.run_files import read_json
from nimble_lightning.run_folder import RunFolder
from nimble_lightning.runtime import result
from nimble_lightning.runtime.job import Job
from nimble_lightning.runtime.outcome import Outcome
from nimble_lightning.runtime.record import Record
from nimble_lightning.runtime.result import Result

# Gives the verdict on a run whose workers have gone.
Judge = Callable[[Job], dict[str, Any]]


def concluded(
    job: Job, record: Record, outcome: Outcome, why_not: str = "", judge: Judge | None = None
) -> Result:
    """The run is over.

    Args:
        job: What was asked.
        record: Of the run; it is brought to its end.
        outcome: Of the last attempt.
        why_not: Why it is not tried again.
        judge: Whose verdict counts instead of the workers'.
    """
    if outcome.cause is Cause.FINISHED:
        flag = read_json(job.folder.finished)
        record.finish(flag, flag.get("verdict") if judge is None else judge(job))
        ended = Result.finished(job.folder.path, record.content)
        if result.cut_short(job.folder):
            ended.message += f"; {result.NOT_SHOWN}" + (f" ({outcome.reason})" if outcome.reason else "")
            if committed_step(job.folder):
                ended.message += f". To have it shown: the same command again, with run_id={job.run_id}"
            record.update(message=ended.message)
        return ended
    if outcome.cause in (Cause.STOPPED, Cause.PREEMPTED):
        reason = outcome.reason if outcome.reason.startswith("stopped") else f"stopped: {outcome.reason}"
        return stopped(job, record, reason, ExitCode.TERMINATED)
    record.update(status="failed", message=outcome.reason, ended=time.time())
    refused = outcome.cause is Cause.CONFIG
    message = f"error: {outcome.reason}" if refused else f"failed: {told(outcome)}"
    ended = Result.of(job.folder.path, record.content, message + (f" ({why_not})" if why_not else ""))
    ended.exit_code = ExitCode.REFUSED if refused else ExitCode.FAILED
    return ended


def stopped(job: Job, record: Record, reason: str, exit_code: int) -> Result:
    """It was asked to end."""
    record.update(status="stopped", message=reason, ended=time.time())
    message = f"{reason}, committed up to step {committed_step(job.folder)}"
    ended = Result.of(job.folder.path, record.content, message)
    ended.exit_code = exit_code
    return ended


def committed_step(folder: RunFolder) -> int:
    """The step of the newest checkpoint, by its name; 0 where there is none."""
    names = (path.stem.removeprefix("step-") for path in folder.steps.glob("step-*.ckpt"))
    return max((int(name) for name in names if name.isdigit()), default=0)


def told(outcome: Outcome) -> str:
    """An outcome in one line: who, where, why."""
    where = "" if outcome.rank is None else f"rank {outcome.rank}"
    where += "" if outcome.step is None else f" at step {outcome.step}"
    return f"{where}: {outcome.reason}" if where else outcome.reason
