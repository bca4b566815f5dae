"""The job of Slurm that this process is a task of, and whether it is going to be started again."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from typing import Any

from typing_extensions import override

from nimble_lightning.ops.run_files import read_json
from nimble_lightning.run_folder import RunFolder
from nimble_lightning.runs.cluster import slurm_commands
from nimble_lightning.runs.cluster.job_environment import JobEnvironment

# Set in the tasks that our batch script starts: nobody else's job is queued again.
OURS = "NIMBLE_SLURM_TASK"
# Below the ports that systems give away by themselves.
_FIRST_PORT, _PORTS = 10_000, 20_000


class SlurmJob(JobEnvironment):
    """The job that our batch script was started for."""

    name = "Slurm"
    key = "slurm_job"

    @property
    @override
    def job_id(self) -> str | None:
        if OURS not in os.environ:
            return None
        # Of a member of an array, its bare number may be that of the whole array.
        array = os.environ.get("SLURM_ARRAY_JOB_ID")
        return f"{array}_{os.environ['SLURM_ARRAY_TASK_ID']}" if array else os.environ.get("SLURM_JOB_ID")

    @override
    def comes_back(self) -> bool:
        """It does while it can be queued again, and where Slurm has done that already.

        It does not when it was cancelled.
        """
        if (job := self.job_id) is None:
            return False
        facts = slurm_commands.facts(job)
        queued_again = int(facts.get("Restarts", 0)) > int(os.environ.get("SLURM_RESTART_COUNT", 0))
        return facts.get("Requeue") == "1" and (queued_again or _can_be_queued(facts))

    @override
    def asked_command(self, folder: RunFolder) -> str | None:
        note = read_json(folder.submitted)
        return str(note["command"]) if note and note["job"] == self.job_id else None

    @override
    def is_over(self, job: str) -> bool:
        """Also where it is this job, queued again since."""
        return job == self.job_id or job not in (slurm_commands.states([job]) or {job})

    def queue_again(self) -> bool:
        """Have the job started again, unless that is so already."""
        job = self.job_id
        return job is not None and _can_be_queued(slurm_commands.facts(job)) and slurm_commands.requeue(job)


def _can_be_queued(facts: Mapping[str, str]) -> bool:
    """Whether its time is up, or nearly, or it was preempted and has a moment of grace: it counts as running.

    Slurm would queue a job again that was cancelled, too, and so bring it back to life.
    """
    return facts.get("JobState") in ("RUNNING", "TIMEOUT") or facts.get("Reason") == "TimeLimit"


def launch() -> dict[str, Any]:
    """The settings under `launch` for a task: alone on its node, or one of several that find each other."""
    nodes = int(os.environ.get("SLURM_JOB_NUM_NODES", 1))
    if nodes == 1:
        return {"name": "local"}
    port = _FIRST_PORT + int(os.environ["SLURM_JOB_ID"]) % _PORTS
    return {"name": "multinode", "nnodes": str(nodes), "rdzv_endpoint": f"{_meeting_place()}:{port}"}


def _meeting_place() -> str:
    """The first host by its name; where that is not known, by its address: srun runs there."""
    host = slurm_commands.first_host()
    try:
        socket.getaddrinfo(host, None)
    except OSError:
        return os.environ["SLURM_LAUNCH_NODE_IPADDR"]
    return host
