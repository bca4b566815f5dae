"""Any of the ranks that somebody else has started but the first: does what that one says."""

from __future__ import annotations

import contextlib
import math
import os
import re
import signal
import socket
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from nimble_lightning.errors import RequestError
from nimble_lightning.launch.external.detect import RankIsolated, Ranks
from nimble_lightning.launch.external.messages import Over, RankMessages
from nimble_lightning.ops.exit_codes import ExitCode
from nimble_lightning.ops.signals import asked, obeyed
from nimble_lightning.run_folder import RunFolder
from nimble_lightning.runs.heartbeat import Heart, Phase
from nimble_lightning.runs.job import Job
from nimble_lightning.runs.result import Result
from nimble_lightning.worker import config_agreement
from nimble_lightning.worker.worker import leave, train

# For what the first has just written on a shared disk to be seen.
_SEEN_SECONDS = 20.0
_LOOK_SECONDS = 0.05
# For the first to put on record that all were told to end, before whoever started us ends it as well.
_RECORD_SECONDS = 10.0
# For the last words of the first.
_WORDS_SECONDS = 0.5
# A name of `new_run_id`, which every rank has one of where nobody asked for any.
_MADE_UP = re.compile(r"\d{4}(-\d\d){2}_\d\d(-\d\d){2}_[0-9a-f]{4}")


def follow(job: Job, meeting: RankMessages) -> Result:
    """Train with the others, and answer what the first answers.

    Raises:
        RequestError: The first refused.
        RankIsolated: The first is gone.
    """
    with contextlib.suppress(Over):
        meeting.gather("asked", asked_of(job))
        job = _found(job, meeting)
        go = meeting.ask("go")
        signals: list[signal.Signals] = []
        with obeyed(signals):
            error = train_here(job, meeting.ranks, **go)
            if error is not None:
                _leave(meeting, error, interrupted=bool(signals))
    said = meeting.ended()
    if "refused" in said:
        time.sleep(_WORDS_SECONDS)
        raise RequestError(said["refused"])
    ended = Result.from_json(said["result"])
    if ended.exit_code:
        time.sleep(_WORDS_SECONDS)
    return ended


def asked_of(job: Job) -> dict[str, Any]:
    """Which settings a rank was given, as digests; a name that was made up is for the first to decide."""
    decided = {"run_id": None} if _MADE_UP.fullmatch(job.run_id) else {}
    return {"settings": config_agreement.digests({**job.resolved(), **decided})}


def placed(job: Job, folder: str, run_id: str) -> Job:
    """The job in the folder where the first start of the first rank put it."""
    if job.folder.path != Path(folder):
        # Made for a name that this process has given the run; empty, and in the way of people.
        with contextlib.suppress(OSError):
            job.folder.path.rmdir()
    return replace(job.with_changes({"run_id": run_id}), folder=RunFolder(folder), run_id=run_id)


def train_here(
    job: Job, ranks: Ranks, attempt: int, resume_from: str | None, seconds_left: float | None
) -> BaseException | None:
    """Run one rank's part of an attempt, within what is left of `max_time`.

    Nobody watches its heartbeat, which only remembers how far it came.
    """
    heart = Heart(job.folder.heartbeat(attempt, ranks.rank))
    heart.beat(0, Phase.STARTING)
    asked.until = math.inf if seconds_left is None else time.monotonic() + seconds_left
    return train(job, attempt, ranks.rank, ranks.local_rank, resume_from, heart)


def _found(job: Job, meeting: RankMessages) -> Job:
    """The job as the first has written it down."""
    folder = meeting.ask("folder")
    job = placed(job, folder, job.run_id)
    until = time.monotonic() + _SEEN_SECONDS
    while not job.folder.job.exists() and time.monotonic() < until:
        time.sleep(_LOOK_SECONDS)
    there = job.folder.job.exists()
    trouble = (
        f"the run folder {folder} is not there on {socket.gethostname()}. Put it on a disk that all machines "
        "share: output_dir=FOLDER"
    )
    meeting.gather("there", None if there else trouble)
    return Job.load(folder) if there else job


def _leave(meeting: RankMessages, error: BaseException, *, interrupted: bool) -> None:
    """End at once: the others wait in a collective until this process is gone."""
    if isinstance(error, SystemExit):
        # All were told to end, so the first does not wait for us.
        meeting.wait("end", _RECORD_SECONDS)
    elif meeting.is_gone():
        print(f"rank {meeting.ranks.rank}: {RankIsolated.GONE}", file=sys.stderr, flush=True)
    if interrupted:
        os._exit(ExitCode.INTERRUPTED)
    leave(error)
