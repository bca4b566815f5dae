"""The first of ranks that somebody else has started: decides for all, and puts on record how it went.

What happens when a rank ends before its time is up to whoever started it.
"""

from __future__ import annotations

import signal
import time
from functools import partial
from typing import Any

from nimble_lightning.errors import RequestError
from nimble_lightning.launch.external.detect import Ranks, starts_before, starts_left
from nimble_lightning.launch.external.messages import LEAVE_SECONDS, RankMessages
from nimble_lightning.launch.external.other_ranks import asked_of, placed, train_here
from nimble_lightning.notifications.events import EventKind
from nimble_lightning.ops.durations import in_seconds
from nimble_lightning.ops.end_causes import Cause
from nimble_lightning.ops.exit_codes import ExitCode
from nimble_lightning.ops.signals import heard, obeyed
from nimble_lightning.run_folder import RunFolder
from nimble_lightning.runs import lifecycle
from nimble_lightning.runs.causes import is_consequence
from nimble_lightning.runs.job import Job
from nimble_lightning.runs.lifecycle import Lifecycle
from nimble_lightning.runs.lost_attempt import beats_of
from nimble_lightning.runs.outcome import Evidence, Outcome, errors_of, judge
from nimble_lightning.runs.process_tree import alive
from nimble_lightning.runs.result import Result
from nimble_lightning.worker import config_agreement

# A rank that failed writes it down a moment after the others have lost it.
_WORD_SECONDS = 1.5
_LOOK_SECONDS = 0.05


def lead(job: Job, meeting: RankMessages) -> Result:
    """Train with the others. Whatever happens, they hear of it."""
    try:
        _require_agreement(meeting.gather("asked", asked_of(job)))
        run = meeting.keep("run", {"folder": str(job.folder.path), "run_id": job.run_id})
        job = placed(job, **run)
        ended = lifecycle.run(job, partial(_work, meeting))
    except BaseException as error:
        meeting.end({"refused": str(error) or type(error).__name__})
        raise
    # Ranks that are lost because one of them failed hear nothing any more.
    meeting.end({"result": ended.to_json()}, 0.0 if ended.status == "failed" else LEAVE_SECONDS)
    return ended


def _require_agreement(asked: list[dict[str, Any]]) -> None:
    for rank, one in enumerate(asked):
        if "refused" in one:
            raise RequestError(f"rank {rank}: {one['refused']}")
    config_agreement.refuse_difference([one["settings"] for one in asked])


def _work(meeting: RankMessages, life: Lifecycle) -> Result:
    job, ranks = life.job, meeting.ranks
    meeting.tell("folder", str(job.folder.path))
    for rank, trouble in enumerate(meeting.gather("there", None)):
        if trouble:
            raise RequestError(f"rank {rank}: {trouble}")
    print(_introduction(ranks), flush=True)
    life.tell_start()
    seconds_left = _seconds_left(job, life.record.spent)
    number, resume_from = life.begin(first_of_command=not starts_before())
    go: dict[str, Any] = {"attempt": number, "resume_from": resume_from, "seconds_left": seconds_left}
    meeting.tell("go", go)
    signals: list[signal.Signals] = []
    with obeyed(signals):
        error = train_here(job, ranks, **go)
    # It is about to end by itself, and nothing is left to commit.
    with heard([]):
        outcome = Outcome(Cause.FINISHED) if error is None else why_ended(error, job.folder, number, ranks)
        return _over(life, outcome, interrupted=bool(signals))


def _over(life: Lifecycle, outcome: Outcome, *, interrupted: bool) -> Result:
    life.end(outcome)
    _clear_away(life.job.folder, len(life.record.attempts))
    if interrupted and outcome.cause is not Cause.FINISHED:
        ended = life.stop("stopped by SIGINT", ExitCode.INTERRUPTED)
    else:
        ended = life.conclude(outcome)
    if ended.status == "failed" and starts_left() > 0:
        life.tell_retry(EventKind.RETRYING, outcome)
        return ended
    return life.finish(ended)


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


def why_ended(error: BaseException, folder: RunFolder, attempt: int, ranks: Ranks) -> Outcome:
    """Seen from the first rank, which ended by an error that may be no more than a consequence."""
    names = [kind.__name__ for kind in type(error).__mro__]
    until = time.monotonic() + (_WORD_SECONDS if is_consequence(names, str(error)) else 0.0)
    while (outcome := judge(_evidence(folder, attempt, ranks))).rank == 0 and time.monotonic() < until:
        time.sleep(_LOOK_SECONDS)
    return outcome


def _evidence(folder: RunFolder, attempt: int, ranks: Ranks) -> Evidence:
    # Of processes on other machines nobody here can say whether they are gone.
    beats = {rank: beat for rank, beat in beats_of(folder, attempt).items() if rank < ranks.local_size}
    dead = {rank: beat for rank, beat in beats.items() if not alive(beat.pid)}
    now = time.time()
    # Where one is gone, whoever started us tells the others to end: that follows from it.
    return Evidence(
        errors=errors_of(folder, attempt),
        beats=dead,
        gone={rank: now for rank in dead},
        told_ranks_stay=True,
    )
