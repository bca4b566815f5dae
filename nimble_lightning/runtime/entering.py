"""Into a run folder, one command at a time; what is finished is left as it is."""

from __future__ import annotations

from collections.abc import Callable

from nimble_lightning.runtime import asked_validator, signing
from nimble_lightning.runtime.attempt import wait_for_orphans
from nimble_lightning.runtime.folder import make_private
from nimble_lightning.runtime.job import Job
from nimble_lightning.runtime.lock import RunLock
from nimble_lightning.runtime.result import Result, done_before


def work_on(job: Job, work: Callable[[Job], Result], *, anywhere: bool = False) -> Result:
    """Do a job's work in its folder, unless it is done. A finished run says so.

    Args:
        job: What to do.
        work: What is done in the folder.
        anywhere: It goes on in turn on several machines.
    """
    asked_validator.check(job.resolved())
    job.folder.create()
    with RunLock(job.folder.lock, anywhere=anywhere):
        wait_for_orphans(job.folder)
        if (done := done_before(job)) is not None:
            return done
        job.folder.finished.unlink(missing_ok=True)
        job.save()
        try:
            with signing.ready(job):
                return work(job)
        finally:
            make_private(job.folder.path)
