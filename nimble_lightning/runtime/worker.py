"""One process of one attempt: sets the stage, trains, and writes down how it went."""

from __future__ import annotations

import os
import signal
import sys
import time
import traceback
from typing import Any

from nimble_lightning.errors import NimbleError
from nimble_lightning.ops.signals import asked
from nimble_lightning.runtime import parent, printing
from nimble_lightning.runtime.folder import write_json
from nimble_lightning.runtime.job import Job

# Set in workers, so that a script they load can be told not to start runs of its own.
IN_WORKER = "NIMBLE_WORKER"


def main(folder: str, attempt: int, supervisor: int, resume_from: str | None) -> None:
    """Entry point in a forked worker. Its answer is what it leaves in the run folder, not what it returns."""
    parent.die_with(supervisor)
    os.environ[IN_WORKER] = "1"
    # Ctrl-C reaches the whole terminal group; the supervisor decides what it means and tells us by SIGTERM.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    asked.listen()
    job = Job.load(folder)
    rank, local_rank = int(os.environ.get("RANK", 0)), int(os.environ.get("LOCAL_RANK", 0))
    with printing.to_log(job.folder, rank, job.config.get("log") or {}):
        try:
            # Here, because the supervisor imports this module as well, and has no use for Lightning.
            from nimble_lightning.runtime.training import Training

            Training(job, attempt, rank, local_rank, resume_from).run()
        except BaseException as error:
            report(error, job, attempt, rank)
            leave(error)


def report(error: BaseException, job: Job, attempt: int, rank: int) -> None:
    """Leave the error where the supervisor finds it, and the user's part of the traceback on the terminal."""
    full = "".join(traceback.format_exception(error))
    facts: dict[str, Any] = {
        "type": type(error).__name__,
        "bases": [c.__name__ for c in type(error).__mro__],
        "message": str(error),
        "traceback": full,
        "rank": rank,
        "time": time.time(),
        "step": getattr(error, "nimble_step", None),
    }
    write_json(job.folder.error_file(attempt, rank), facts)
    if not isinstance(error, SystemExit):
        print(users_part(error), file=sys.stderr, flush=True)


def users_part(error: BaseException) -> str:
    """The traceback less the frames of libraries: what the user can change. Errors of ours are a sentence already."""
    if isinstance(error, NimbleError):
        return f"{error}"
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if "site-packages" not in f.filename and f"nimble_lightning{os.sep}" not in f.filename and "<frozen" not in f.filename]
    shown = own or frames[-3:]
    return "".join(["Traceback (your code; the whole one is in errors/):\n", *traceback.format_list(shown), *traceback.format_exception_only(error)]).rstrip()


def leave(error: BaseException) -> None:
    """End a failed process at once, without the clean-up that would wait for ranks that are gone."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(error.code if isinstance(error, SystemExit) and isinstance(error.code, int) else 1)
