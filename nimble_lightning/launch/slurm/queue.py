"""Runs in Slurm's queue, watched from here for as long as somebody wants to."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from nimble_lightning.launch.slurm import submit
from nimble_lightning.runs.cluster import slurm_commands
from nimble_lightning.runs.job import Job
from nimble_lightning.runs.result import Result
from nimble_lightning.settings import Slurm

# The controller is asked often while something may be over soon, and seldom for what takes hours.
_LOOK_SECONDS, _MOST_LOOK_SECONDS = 0.5, 15.0
# What a node wrote may be seen here a little later than that it is gone.
_DISK_SECONDS = 10.0


@dataclass
class QueuedRun:
    """A run in the queue.

    Attributes:
        job: What it does.
        words: What is varied in it.
        state: Slurm's word for how it is.
        gone: When it was first missed.
    """

    job: Job
    words: tuple[str, ...] = ()
    state: str = ""
    gone: float | None = None


def run(job: Job, launch: Slurm) -> Result:
    """Hand in a run and, where that is asked for, wait for its end."""
    result = submit.submit(job)
    if result.status != "submitted" or launch.wait is not True:
        return result
    print(f"{job.run_id}: {result.message}", flush=True)
    member, looks = {0: QueuedRun(job)}, intervals()
    while not (over := ended(member)):
        next(looks)
    return over[0]


def ended(members: Mapping[int, QueuedRun]) -> dict[int, Result]:
    """What came of those that have ended; of the others, their state is noted."""
    over = {n: result for n, m in members.items() if (result := submit.ended(m.job)) is not None}
    numbers = {n: submit.number_of(m.job.folder) for n, m in members.items() if n not in over}
    states = slurm_commands.states(numbers.values())
    if states is None:
        return over
    for n, number in numbers.items():
        member = members[n]
        member.state = states.get(number, "")
        if member.state:
            member.gone = None
        elif member.gone is None:
            member.gone = time.monotonic()
        elif time.monotonic() - member.gone > _DISK_SECONDS:
            over[n] = submit.lost(member.job)
    return over


def intervals() -> Iterator[None]:
    """Wait, longer and longer, each time the next one is asked for."""
    seconds = _LOOK_SECONDS
    while True:
        time.sleep(seconds)
        yield
        seconds = min(_MOST_LOOK_SECONDS, 1.2 * seconds)
