"""A run in this very process: for debuggers and notebooks. Nothing watches it and nothing is retried."""

from __future__ import annotations

import time
from typing import Any

from nimble_lightning.ops.end_causes import Cause
from nimble_lightning.ops.events import EventKind
from nimble_lightning.ops.run_files import read_json
from nimble_lightning.runtime import ending, entering, notifying, printing, resuming
from nimble_lightning.runtime.job import Job
from nimble_lightning.runtime.outcome import Outcome
from nimble_lightning.runtime.record import Record
from nimble_lightning.runtime.result import Result
from nimble_lightning.runtime.training import Training


def run_inline(job: Job, trainer: Any = None) -> Result:
    """Train in this process, the trainer that the job names or the given one.

    Errors come out as they are, for a debugger to stop at.
    """

    def work(job: Job) -> Result:
        with notifying.telling(job):
            return _run(job, trainer)

    return entering.work_on(job, work)


def _run(job: Job, trainer: Any) -> Result:
    record = Record(job.folder, job.run_id)
    resume_from, step = resuming.find(job, first_of_command=True)
    ending.tell(job, EventKind.STARTED, resumed=bool(record.attempts))
    attempt = record.begin(resume_from, step, code=job.code)
    try:
        with printing.to_log(job.folder, 0, 0, job.settings.log):
            Training(job, attempt, resume_from=resume_from).run(trainer)
    except BaseException as error:
        record.end(
            Outcome(
                Cause.TRANSIENT, f"{type(error).__name__}: {error}", 0, getattr(error, "nimble_step", None)
            ),
            None,
        )
        record.update(status="failed", message=str(error), ended=time.time())
        ending.complete(job, Result.of(job.folder.path, record.content, f"failed: {error}"))
        raise
    flag = read_json(job.folder.finished)
    record.end(Outcome(Cause.FINISHED), flag["metrics"].get("global_step"))
    record.finish(flag, flag["verdict"])
    return ending.complete(job, Result.finished(job.folder.path, record.content))
