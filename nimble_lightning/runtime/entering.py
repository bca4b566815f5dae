"""Into a run folder, one command at a time, to do what is left to do there."""

from __future__ import annotations

from collections.abc import Callable

from nimble_lightning.errors import NimbleError
from nimble_lightning.ops.run_files import read_json
from nimble_lightning.run_folder import make_private
from nimble_lightning.runtime import asked_validator, devices, ending, extras, rerun, signing
from nimble_lightning.runtime.attempt import wait_for_orphans
from nimble_lightning.runtime.job import Job
from nimble_lightning.runtime.lock import RunLock
from nimble_lightning.runtime.result import Result


def work_on(job: Job, work: Callable[[Job], Result], *, anywhere: bool = False) -> Result:
    """Do what is left of a job in its folder. A finished run of which nothing more is asked says so.

    Args:
        job: What to do.
        work: What is done in the folder.
        anywhere: It goes on in turn on several machines.
    """
    asked_validator.check(job.settings)
    extras.check(job.settings)
    devices.require(job.settings.processes)
    job.folder.create()
    with RunLock(job.folder.lock, anywhere=anywhere):
        wait_for_orphans(job.folder)
        rest = rerun.rest_of(job)
        if rest.done is not None:
            return rest.done
        try:
            with signing.ready(job), rerun.reopened(job, rest) as again:
                if rest.told:
                    print(rest.told, flush=True)
                if rest.needs_model:
                    return work(again)
                record = read_json(job.folder.run)
                return ending.complete(again, Result.of(job.folder.path, record, "finished"))
        except FileNotFoundError as error:
            if job.folder.path.exists():
                raise
            raise NimbleError(
                f"The run folder {job.folder.path} was moved or removed while the run went on\n"
                "Where it is whole, the same command continues it: output_dir=, name= and run_id= say where"
            ) from error
        finally:
            make_private(job.folder.path)
