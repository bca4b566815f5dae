"""The schedulers we know, and the job of one of them that this process is a task of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nimble_lightning.runs.cluster.job_environment import JobEnvironment
from nimble_lightning.runs.cluster.slurm_job import SlurmJob

KNOWN: tuple[JobEnvironment, ...] = (SlurmJob(),)


def current() -> JobEnvironment | None:
    """That of the job this process is a task of; None where it is one of none."""
    return next((environment for environment in KNOWN if environment.job_id is not None), None)


def note() -> dict[str, str]:
    """The job this process is a task of, as it is noted; empty where it is one of none."""
    here = current()
    return {here.key: here.job_id} if here is not None and here.job_id is not None else {}


def begun(attempts: Sequence[Mapping[str, Any]]) -> bool:
    """Whether this very job has started the run before, so that what was asked for its start is done."""
    noted = note().items()
    return bool(noted) and any(noted <= attempt.items() for attempt in attempts)


def is_over(noted: Mapping[str, object]) -> bool:
    """Whether what was noted was in a job that is over; not where it was in none."""
    jobs = ((each, noted.get(each.key)) for each in KNOWN)
    return any(each.is_over(str(job)) for each, job in jobs if job is not None)
