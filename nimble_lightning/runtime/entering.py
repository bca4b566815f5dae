"""Into a run folder, one command at a time; what is finished is left as it is."""

from __future__ import annotations

from collections.abc import Callable

from nimble_lightning.runtime import asked_validator, signing
from nimble_lightning.runtime.attempt import wait_for_orphans
from nimble_lightning.runtime.folder import read_json
from nimble_lightning.runtime.job import Job
from nimble_lightning.runtime.lock import RunLock
from nimble_lightning.runtime.result import Result


def work_on(job: Job, work: Callable[[Job], Result]) -> Result:
    """Do a job's work in its folder, unless it is done. A finished run says so."""
    asked_validator.check(job.resolved())
    job.folder.create()
    with RunLock(job.folder.lock):
        wait_for_orphans(job.folder)
        done = read_json(job.folder.run)
        if (
            done.get("status") == "finished"
            and job.folder.finished.exists()
            and job.config.get("resume") != "never"
        ):
            return Result.of(job.folder.path, done, f"The run {job.run_id} is finished already.")
        job.folder.finished.unlink(missing_ok=True)
        job.save()
        with signing.ready(job):
            return work(job)
