"""One process of one attempt: sets the stage, trains, and writes down how it went."""

from __future__ import annotations

import faulthandler
import multiprocessing
import os
import signal
import sys
import traceback
from collections.abc import Mapping

from nimble_lightning.errors import NimbleError
from nimble_lightning.ops.failures import facts_of
from nimble_lightning.ops.signals import asked
from nimble_lightning.runtime import parent, printing
from nimble_lightning.runtime.causes import is_consequence
from nimble_lightning.runtime.folder import write_json
from nimble_lightning.runtime.foreign.ranks import IN_WORKER
from nimble_lightning.runtime.heartbeat import Heart, Phase
from nimble_lightning.runtime.job import Job

# Asks a worker what each of its threads is doing.
STACKS = signal.SIGUSR2


def main(
    folder: str, attempt: int, supervisor: int, resume_from: str | None, environment: Mapping[str, str]
) -> None:
    """Entry point in a forked worker. Its answer is what it leaves in the run folder, not what it returns."""
    parent.die_with(supervisor)
    os.environ[IN_WORKER] = "1"
    take(environment)
    # Ours came down from the supervisor. Loading processes start as they do anywhere, by a fork on Linux: in
    # an instant, and whatever the dataset holds.
    multiprocessing.set_start_method(None, force=True)
    # Ctrl-C reaches the whole terminal group; the supervisor decides what it means and tells us by SIGTERM.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    asked.obey()
    job = Job.load(folder)
    rank, local_rank = int(os.environ.get("RANK", 0)), int(os.environ.get("LOCAL_RANK", 0))
    heart = Heart(job.folder.heartbeat(attempt, rank))
    heart.beat(0, Phase.STARTING)
    # Written by the handler itself, so it works in a deadlock and in a loop that never comes back from C.
    faulthandler.register(STACKS, file=open(job.folder.stacks(attempt, rank), "w"), all_threads=True)  # noqa: SIM115
    error = train(job, attempt, rank, local_rank, resume_from, heart)
    if error is not None:
        leave(error)


def train(
    job: Job, attempt: int, rank: int, local_rank: int, resume_from: str | None, heart: Heart
) -> BaseException | None:
    """Train here, and leave what a rank leaves; returns what ended it too early, written down by then."""
    # Here, because the supervisor imports this module as well, and has no use for Lightning; which has to be
    # there before the log, since it sets levels of its own when it comes.
    from nimble_lightning.runtime.training import Training

    with printing.to_log(job.folder, rank, local_rank, job.config.get("log") or {}):
        try:
            Training(job, attempt, rank, local_rank, resume_from, heart).run()
        except BaseException as error:
            # Told to end once more, it would leave without having said why.
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            report(error, job, attempt, rank)
            return error
    return None


def take(environment: Mapping[str, str]) -> None:
    """Have what the supervisor has that the server had not: devices among it, and no others are used."""
    os.environ.update(environment)
    if "OMP_NUM_THREADS" in environment:
        import torch

        # Read from the environment when torch was loaded, which in the server was long ago.
        torch.set_num_threads(int(environment["OMP_NUM_THREADS"]))


def report(error: BaseException, job: Job, attempt: int, rank: int) -> None:
    """Leave the error where the supervisor finds it, and the user's part of the traceback on the terminal."""
    facts = facts_of(error, rank, getattr(error, "nimble_step", None))
    # Asked to end, a rank has nothing of its own to complain about.
    facts["asked"] = asked.stop and not isinstance(error, SystemExit)
    write_json(job.folder.error_file(attempt, rank), facts)
    if not (
        isinstance(error, SystemExit) or facts["asked"] or is_consequence(facts["bases"], facts["message"])
    ):
        print(users_part(error), file=sys.stderr, flush=True)


def users_part(error: BaseException) -> str:
    """The traceback less the frames of libraries: what the user can change.

    Errors of ours are a sentence already.
    """
    if isinstance(error, NimbleError):
        return f"{error}"
    frames = traceback.extract_tb(error.__traceback__)
    own = [
        f
        for f in frames
        if "site-packages" not in f.filename
        and f"nimble_lightning{os.sep}" not in f.filename
        and "<frozen" not in f.filename
    ]
    shown = own or frames[-3:]
    return "".join(
        [
            "Traceback (your code; the whole one is in errors/):\n",
            *traceback.format_list(shown),
            *traceback.format_exception_only(error),
        ]
    ).rstrip()


def leave(error: BaseException) -> None:
    """End a failed process at once, without the clean-up that would wait for ranks that are gone.

    Never with code 0, whatever `sys.exit` was given: torchelastic would wait for the answer of a success.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    code = error.code if isinstance(error, SystemExit) else 1
    os._exit(code if isinstance(code, int) and code else 1)
