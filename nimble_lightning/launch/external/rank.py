"""A run whose processes somebody else's launcher has started: this is one rank of it, and starts none."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from nimble_lightning.errors import RequestError
from nimble_lightning.launch.external.detect import Ranks
from nimble_lightning.runs import device_count
from nimble_lightning.runs.job import Job
from nimble_lightning.runs.result import Result

if TYPE_CHECKING:
    from nimble_lightning.launch.external.messages import RankMessages

# For the others to come and hear that there is nothing to do.
_REFUSED_SECONDS = 30.0

_meetings: list[RankMessages] = []


def run(job: Job, ranks: Ranks) -> Result:
    """Be one rank of a run, to its end; the answer is the same on all of them.

    Raises:
        RequestError: They were not asked for the same, or for what cannot be done; raised by all.
        RankIsolated: The others could not be met, or rank 0 is gone.
    """
    from nimble_lightning.launch.external import first_rank, other_ranks

    job = fitted(job, ranks)
    meeting = _meet(ranks)
    os.environ.update(_as_torchrun(ranks))
    return first_rank.lead(job, meeting) if ranks.first else other_ranks.follow(job, meeting)


def refuse(ranks: Ranks, text: str) -> None:
    """Have all ranks end because of what is wrong with what this one was asked.

    Raises:
        RankIsolated: The others could not be met, or rank 0 is gone.
    """
    if _meetings:
        # What was wrong came up where they met.
        return
    meeting = _meet(ranks)
    if ranks.first:
        meeting.end({"refused": text}, _REFUSED_SECONDS)
    else:
        meeting.gather("asked", {"refused": text})
        meeting.ended()


def fitted(job: Job, ranks: Ranks) -> Job:
    """The job for the processes there are.

    Raises:
        RequestError: Others were asked for, or what only a supervisor can do.
    """
    processes, who = job.settings.processes, ranks.launcher.name
    asked, machines = processes.devices, processes.num_nodes
    if asked not in ("auto", -1, "-1") and device_count.count(processes) != ranks.local_size:
        raise RequestError(
            f"lightning.devices={asked}, but {who} started {ranks.local_size} processes on this machine, one "
            "for each device. Leave lightning.devices out, or have it start as many."
        )
    if machines not in (1, ranks.machines):
        raise RequestError(
            f"lightning.num_nodes={machines}, but {who} started processes on {ranks.machines} machines. "
            "Leave lightning.num_nodes out."
        )
    if job.settings.stretches_replayed:
        raise RequestError(
            f"validator=replay trains in processes of its own, which ranks of {who} do not start. "
            "Type afterwards: nimble-cli verify FOLDER --replay 1"
        )
    here = ranks.local_size if isinstance(asked, str | int) else asked
    return job.with_changes({"lightning.devices": here, "lightning.num_nodes": ranks.machines})


def _meet(ranks: Ranks) -> RankMessages:
    # Brings torch with it, which a command that only refuses can do without.
    from nimble_lightning.launch.external.messages import RankMessages

    meeting = RankMessages(ranks)
    _meetings.append(meeting)
    return meeting


def _as_torchrun(ranks: Ranks) -> dict[str, str]:
    """What Lightning goes by, whoever started us."""
    return {
        "RANK": str(ranks.rank),
        "WORLD_SIZE": str(ranks.size),
        "LOCAL_RANK": str(ranks.local_rank),
        "LOCAL_WORLD_SIZE": str(ranks.local_size),
        "GROUP_RANK": str(ranks.rank // ranks.local_size),
        "TORCHELASTIC_RUN_ID": os.environ.get("TORCHELASTIC_RUN_ID", ranks.launcher.name),
    }
