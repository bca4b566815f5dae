"""Runs handed to Slurm: what is checked before, and what is noted beside them."""

from __future__ import annotations

import os
import shlex
import socket
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from nimble_lightning.errors import RequestError
from nimble_lightning.launch.slurm.batch_script import batch_script
from nimble_lightning.ops.exit_codes import ExitCode
from nimble_lightning.ops.run_files import read_json, write_json, write_text
from nimble_lightning.run_folder import RunFolder, seen_from_here
from nimble_lightning.runs.cluster import slurm_commands
from nimble_lightning.runs.cluster.slurm_job import SlurmJob
from nimble_lightning.runs.job import Job
from nimble_lightning.runs.notifier import resume_command
from nimble_lightning.runs.request import rerun
from nimble_lightning.runs.result import Result
from nimble_lightning.settings import Slurm
from nimble_lightning.validators import from_config

_OF_ONE_MACHINE = ("tmpfs", "ramfs", "overlay")


def submit(job: Job) -> Result:
    """Hand in a run by itself. One that is finished says so.

    Raises:
        RequestError: It cannot be run as it is asked for, or is in the queue already.
    """
    rest = rerun.rest_of(job)
    if rest.done is not None:
        return rest.done
    if number := in_queue({0: job.folder}).get(0):
        raise RequestError(
            f"The run {job.run_id} is in Slurm already, as job {number}. "
            f"Wait for it (squeue -j {number}), end it (scancel {number}), or start another with run_id=NAME."
        )
    if rest.told:
        print(rest.told, flush=True)
    prepare(job)
    _hand_in(job.folder.path, job.name, [job])
    return submitted(job)


def prepare(job: Job) -> None:
    """Write down what is asked, for the node to find.

    Raises:
        RequestError: It cannot be run.
    """
    from_config.check(job.settings)
    rerun.reopen(job)
    # Slurm would make it readable for all.
    os.close(os.open(job.folder.said, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600))


def submit_members(sweep: Path, jobs: Mapping[int, Job]) -> str:
    """Hand in members of a sweep, which are prepared, as one array; returns its number."""
    name = f"{sweep.parent.name}/{sweep.name}"
    return _hand_in(sweep, name, list(jobs.values()), list(jobs))


def submitted(job: Job) -> Result:
    """What there is to say of a run while it is in the queue."""
    number = number_of(job.folder)
    log = shlex.quote(str(seen_from_here(job.folder.said)))
    message = f"submitted as Slurm job {number}  (watch: tail -F {log}; end: scancel {number})"
    return Result("submitted", {}, job.folder.path, message=message)


def number_of(folder: RunFolder) -> str:
    """The job that a run was last handed in as; empty where it never was."""
    return str(read_json(folder.submitted).get("job", ""))


def in_queue(folders: Mapping[int, RunFolder]) -> dict[int, str]:
    """The jobs of those runs that wait or go on.

    Raises:
        RequestError: They were handed in, and Slurm does not say whether they are still there.
    """
    noted = {number: job for number, folder in folders.items() if (job := number_of(folder))}
    if (states := slurm_commands.states(noted.values())) is None:
        raise RequestError(
            "squeue does not answer, so nobody knows whether these runs are in Slurm already\n"
            "Try again when it does"
        )
    return {number: job for number, job in noted.items() if job in states}


def ended(job: Job) -> Result | None:
    """What came of a run that is in the queue no more; None where it left no word of its end."""
    note, left, record = map(read_json, (job.folder.submitted, job.folder.left, job.folder.run))
    if not left or left["job"] != note.get("job"):
        return None
    result = Result.of(job.folder.path, {"status": "failed", **record}, "")
    result.exit_code, result.message = int(left["exit_code"]), str(left["message"])
    return result


def lost(job: Job) -> Result:
    """The same for one that Slurm ended: cancelled, or never started."""
    record = read_json(job.folder.run)
    stopped = record.get("status") in ("stopped", None)
    message = f"ended by Slurm{'' if record else ' before it began'}; its last words are in {job.folder.said}"
    result = Result.of(job.folder.path, {**record, "status": "stopped" if stopped else "failed"}, message)
    result.exit_code = ExitCode.TERMINATED if stopped else ExitCode.FAILED
    return result


def note_end(folder: str, code: int, message: str) -> None:
    """Leave for those who wait what a run ended with."""
    if Path(folder).is_dir():
        write_json(RunFolder(folder).left, {"job": SlurmJob().job_id, "exit_code": code, "message": message})


def _hand_in(folder: Path, name: str, jobs: Sequence[Job], members: Sequence[int] = ()) -> str:
    _check_shared(folder)
    launch = jobs[0].settings.launch
    assert isinstance(launch, Slurm)
    script = folder / RunFolder(folder).batch.name
    write_text(script, batch_script(launch, name, folder, members))
    number = slurm_commands.sbatch(script)
    for job, element in zip(jobs, [f"{number}_{member}" for member in members] or [number], strict=True):
        write_json(job.folder.submitted, {"job": element, "command": resume_command(job)})
    return number


def _check_shared(folder: Path) -> None:
    """Refuse a folder that only this machine can see, unless there is no other one."""
    kind = _kind_of_disk(folder)
    own = any(folder.is_relative_to(place) for place in (tempfile.gettempdir(), "/tmp", "/var/tmp"))
    if not own and kind not in _OF_ONE_MACHINE:
        return
    here = socket.gethostname().partition(".")[0]
    if any(host.partition(".")[0] != here for host in slurm_commands.hosts()):
        raise RequestError(
            f"The folder {folder} is on a disk of this machine ({kind}), which the nodes do not see\n"
            "Choose one on a disk that all of them share: output_dir=FOLDER"
        )


def _kind_of_disk(folder: Path) -> str:
    """The file system a folder is on, or will be."""
    try:
        lines = Path("/proc/self/mounts").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return "unknown"
    mounts = {Path(place): kind for _, place, kind, *_ in map(str.split, lines)}
    return next((mounts[place] for place in (folder, *folder.parents) if place in mounts), "unknown")
