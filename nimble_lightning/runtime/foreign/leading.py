"""The first of ranks that somebody else has started: decides for all, and puts on record how it went.

What happens when a rank ends before its time is up to whoever started it.
"""

from __future__ import annotations

import signal
from functools import partial
from typing import Any

from nimble_lightning.errors import RequestError
from nimble_lightning.ops.durations import in_seconds
from nimble_lightning.ops.end_causes import Cause
from nimble_lightning.ops.events import EventKind
from nimble_lightning.ops.exit_codes import ExitCode
from nimble_lightning.ops.signals import heard, obeyed
from nimble_lightning.run_folder import RunFolder
from nimble_lightning.runtime import agreement, concluding, ending, entering, notifying, resuming
from nimble_lightning.runtime.abandoned import Abandoned, abandoned
from nimble_lightning.runtime.foreign.following import asked_of, placed, train_here
from nimble_lightning.runtime.foreign.meeting import LEAVE_SECONDS, Meeting
from nimble_lightning.runtime.foreign.ranks import Ranks, starts_before, starts_left
from nimble_lightning.runtime.foreign.remains import why_ended
from nimble_lightning.runtime.job import Job
from nimble_lightning.runtime.outcome import Outcome
from nimble_lightning.runtime.record import Record
from nimble_lightning.runtime.result import Result


def lead(job: Job, meeting: Meeting) -> Result:
    """Train with the others. Whatever happens, they hear of it."""
    try:
        _require_agreement(meeting.gather("asked", asked_of(job)))
        run = meeting.keep("run", {"folder": str(job.folder.path), "run_id": job.run_id})
        job = placed(job, **run)
        ended = entering.work_on(job, partial(_work, meeting, abandoned(job.folder)))
    except BaseException as error:
        meeting.end({"refused": str(error) or type(error).__name__})
        raise
    # Ranks that are lost because one of them failed hear nothing any more.
    meeting.end({"result": ended.as_plain()}, 0.0 if ended.status == "failed" else LEAVE_SECONDS)
    return ended


def _require_agreement(asked: list[dict[str, Any]]) -> None:
    for rank, one in enumerate(asked):
        if "refused" in one:
            raise RequestError(f"rank {rank}: {one['refused']}")
    agreement.refuse_difference([one["settings"] for one in asked])


def _work(meeting: Meeting, left: Abandoned | None, job: Job) -> Result:
    ranks = meeting.ranks
    meeting.tell("folder", str(job.folder.path))
    for rank, trouble in enumerate(meeting.gather("there", None)):
        if trouble:
            raise RequestError(f"rank {rank}: {trouble}")
    record = Record(job.folder, job.run_id)
    record.end_abandoned(left)
    print(_introduction(ranks), flush=True)
    with notifying.telling(job):
        ending.tell(job, EventKind.STARTED, attempt=len(record.attempts), resumed=bool(record.attempts))
        resume_from, step = resuming.find(job, first_of_command=not starts_before())
        seconds_left = _seconds_left(job, record.spent)
        number = record.begin(resume_from, step, code=job.code)
        go: dict[str, Any] = {"attempt": number, "resume_from": resume_from, "seconds_left": seconds_left}
        meeting.tell("go", go)
        signals: list[signal.Signals] = []
        with obeyed(signals):
            error = train_here(job, ranks, **go)
        # It is about to end by itself, and nothing is left to commit.
        with heard([]):
            outcome = (
                Outcome(Cause.FINISHED) if error is None else why_ended(error, job.folder, number, ranks)
            )
            return _concluded(job, record, outcome, interrupted=bool(signals))


def _concluded(job: Job, record: Record, outcome: Outcome, *, interrupted: bool) -> Result:
    committed = concluding.committed_step(job.folder)
    record.end(outcome, committed if outcome.step is None else outcome.step)
    _clear_away(job.folder, len(record.attempts))
    if interrupted and outcome.cause is not Cause.FINISHED:
        ended = concluding.stopped(job, record, "stopped by SIGINT", ExitCode.INTERRUPTED)
    else:
        ended = concluding.concluded(job, record, outcome)
    if ended.status == "failed" and starts_left() > 0:
        facts = {"cause": outcome.cause, "reason": outcome.reason, "rank": outcome.rank, "step": outcome.step}
        ending.tell(job, EventKind.RETRYING, attempt=len(record.attempts), **facts)
        return ended
    return ending.complete(job, ended)


def _seconds_left(job: Job, spent: float) -> float | None:
    """Of the time for all starts of the run together, if there is an end to that."""
    retry = job.settings.callbacks.auto_retry
    most = None if retry is None else retry.max_time
    return None if most is None else in_seconds(most, "max_time") - spent


def _introduction(ranks: Ranks) -> str:
    who = ranks.launcher.name
    again = f"{who} may start them again" if starts_left() > 0 else f"{who} does not start them again"
    return (
        f"rank 0 of {ranks.size}, started by {who}: this command starts no processes and looks for no hangs, "
        f"and {again}"
    )


def _clear_away(folder: RunFolder, attempt: int) -> None:
    """What ranks need of each other while they go on."""
    for file in (*folder.heartbeats(), *folder.path.glob(f"{folder.prepared(attempt, 0).stem}.*")):
        file.unlink(missing_ok=True)
