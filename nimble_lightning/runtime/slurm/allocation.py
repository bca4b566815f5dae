"""The job of Slurm that this process is a task of, and whether it is going to be started again."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping, Sequence
from typing import Any

from nimble_lightning.ops.end_causes import Cause
from nimble_lightning.ops.run_files import read_json
from nimble_lightning.run_folder import RunFolder
from nimble_lightning.runtime.slurm import commands

# Set in the tasks that our batch script starts: nobody else's job is queued again.
OURS = "NIMBLE_SLURM_TASK"
# Below the ports that systems give away by themselves.
_FIRST_PORT, _PORTS = 10_000, 20_000


def job_id() -> str | None:
    """The Slurm job that our batch script was started for, or None.

    That of a member of an array is `12_3`: its bare number may be that of the whole array.
    """
    if OURS not in os.environ:
        return None
    array = os.environ.get("SLURM_ARRAY_JOB_ID")
    return f"{array}_{os.environ['SLURM_ARRAY_TASK_ID']}" if array else os.environ.get("SLURM_JOB_ID")


def comes_back() -> bool:
    """Whether the job goes on when its tasks have ended now, as they were asked to.

    It does while it can be queued again, and where Slurm has done that already. It does not when it was
    cancelled.
    """
    if (job := job_id()) is None:
        return False
    facts = commands.facts(job)
    queued_again = int(facts.get("Restarts", 0)) > int(os.environ.get("SLURM_RESTART_COUNT", 0))
    return facts.get("Requeue") == "1" and (queued_again or _can_be_queued(facts))


def queue_again() -> bool:
    """Have the job started again, unless that is so already."""
    job = job_id()
    return job is not None and _can_be_queued(commands.facts(job)) and commands.requeue(job)


def _can_be_queued(facts: Mapping[str, str]) -> bool:
    """Whether its time is up, or nearly, or it was preempted and has a moment of grace: it counts as running.

    Slurm would queue a job again that was cancelled, too, and so bring it back to life.
    """
    return facts.get("JobState") in ("RUNNING", "TIMEOUT") or facts.get("Reason") == "TimeLimit"


def begun(attempts: Sequence[Mapping[str, Any]]) -> bool:
    """Whether this very job has started the run before, so that what was asked for its start is done."""
    job = job_id()
    return job is not None and any(attempt.get("slurm_job") == job for attempt in attempts)


def asked_command(folder: RunFolder) -> str | None:
    """What was typed for the run in a folder, if this is its job."""
    note = read_json(folder.submitted)
    return str(note["command"]) if note and note["job"] == job_id() else None


def barren(attempts: Sequence[Mapping[str, Any]], step: int, most: int) -> bool:
    """Whether more starts in a row than `most` were all ended from outside and none got any further."""
    last = attempts[-(most + 1) :]
    return len(last) > most and all(
        attempt.get("cause") == Cause.PREEMPTED and attempt["first_step"] == step for attempt in last
    )


def launch() -> dict[str, Any]:
    """The settings under `launch` for a task: alone on its node, or one of several that find each other."""
    nodes = int(os.environ.get("SLURM_JOB_NUM_NODES", 1))
    if nodes == 1:
        return {"name": "local"}
    port = _FIRST_PORT + int(os.environ["SLURM_JOB_ID"]) % _PORTS
    return {"name": "multinode", "nnodes": str(nodes), "rdzv_endpoint": f"{_meeting_place()}:{port}"}


def _meeting_place() -> str:
    """The first host by its name; where that is not known, by its address: srun runs there."""
    host = commands.first_host()
    try:
        socket.getaddrinfo(host, None)
    except OSError:
        return os.environ["SLURM_LAUNCH_NODE_IPADDR"]
    return host
