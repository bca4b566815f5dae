"""One process of one attempt: sets the stage, trains, and writes down how it went."""

from __future__ import annotations

import errno
import faulthandler
import logging
import multiprocessing.util
import os
import signal
import sys
import sysconfig
import threading
import time
import traceback
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from nimble_lightning.errors import NimbleError
from nimble_lightning.ops.failures import DISK_FULL, facts_of
from nimble_lightning.ops.process_environment import IN_WORKER
from nimble_lightning.ops.run_files import write_json
from nimble_lightning.ops.secrets import redact
from nimble_lightning.ops.signals import asked
from nimble_lightning.ops.untrusted_text import cut, printable
from nimble_lightning.runs import process_tree
from nimble_lightning.runs.causes import is_consequence
from nimble_lightning.runs.heartbeat import Heart, Phase, read
from nimble_lightning.runs.job import Job
from nimble_lightning.worker import output
from nimble_lightning.worker.server import forkserver

log = logging.getLogger(__name__)

# Asks a worker what each of its threads is doing.
STACKS = signal.SIGUSR2
# Files whose lines are no code of the user's.
_NOT_THE_USERS = (
    "<",
    f"{Path(__file__).parents[1]}{os.sep}",
    *{f"{sysconfig.get_path(name)}{os.sep}" for name in ("stdlib", "platstdlib", "purelib", "platlib")},
)
# How long threads and processes that a trainer left running may take to end by themselves.
LEFT_SECONDS = 30.0


def main(
    folder: str, attempt: int, supervisor: int, resume_from: str | None, environment: Mapping[str, str]
) -> None:
    """Entry point in a forked worker. Its answer is what it leaves in the run folder, not what it returns."""
    # Whatever holds on to the server keeps it running.
    forkserver.let_go()
    job, rank = Job.load(folder), int(os.environ.get("RANK", 0))
    heart = job.folder.heartbeat(attempt, rank)
    code = process_tree.under_parent(
        lambda: _work(job, attempt, rank, heart, resume_from, environment), supervisor
    )
    last = read(heart)
    if last is None or last.phase != Phase.ENDED:
        if code == 0:
            # By os._exit(0), perhaps of a library in C: nothing was raised, and nothing is done.
            error = SystemExit(0)
            error.nimble_step = None if last is None else last.step  # type: ignore[attr-defined]
            report(error, job, attempt, rank)
        process_tree.end_like(code)
    # Torchelastic waits for the other ranks, and then for the supervisor.
    process_tree.die_with(supervisor)


def _work(
    job: Job, attempt: int, rank: int, beats: Path, resume_from: str | None, environment: Mapping[str, str]
) -> None:
    os.environ[IN_WORKER] = "1"
    take(environment)
    # Ours came down from the supervisor. Loading processes start as they do anywhere, by a fork on Linux: in
    # an instant, and whatever the dataset holds.
    multiprocessing.set_start_method(None, force=True)
    # Ctrl-C reaches the whole terminal group; the supervisor decides what it means and tells us by SIGTERM.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    asked.obey()
    # A process that the trainer forks is no rank, and has nothing to commit.
    os.register_at_fork(after_in_child=lambda: signal.signal(signal.SIGTERM, signal.SIG_DFL))
    local_rank = int(os.environ.get("LOCAL_RANK", 0))
    try:
        heart = Heart(beats)
        heart.beat(0, Phase.STARTING)
        # Written by the handler itself, so it works in a deadlock and in a loop that never comes back from C.
        faulthandler.register(STACKS, file=open(job.folder.stacks(attempt, rank), "w"), all_threads=True)  # noqa: SIM115
        error = train(job, attempt, rank, local_rank, resume_from, heart)
    except OSError as failure:
        error = failure
    if error is not None:
        leave(error)
    with output.to_log(job.folder, rank, local_rank, job.settings.log):
        wait_for_others()
    multiprocessing.util._run_finalizers()  # type: ignore[attr-defined]
    heart.beat(heart.step, Phase.ENDED)


def train(
    job: Job, attempt: int, rank: int, local_rank: int, resume_from: str | None, heart: Heart
) -> BaseException | None:
    """Train here, and leave what a rank leaves; returns what ended it too early, written down by then."""
    # Here, because the supervisor imports this module as well, and has no use for Lightning; which has to be
    # there before the log, since it sets levels of its own when it comes.
    from nimble_lightning.worker.training import Training

    with output.to_log(job.folder, rank, local_rank, job.settings.log):
        try:
            Training(job, attempt, rank, local_rank, resume_from, heart).run()
        except BaseException as error:
            # Told to end once more, it would leave without having said why.
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            try:
                report(error, job, attempt, rank)
            except OSError as unwritten:
                return unwritten
            return error
    return None


def wait_for_others() -> None:
    """Threads and processes that are no daemons are waited for, as Python does, but not for ever."""
    until, said = time.monotonic() + LEFT_SECONDS, False
    while names := _others():
        if time.monotonic() > until:
            log.warning("still running, and ended now: %s", ", ".join(names))
            return
        if not said:
            log.info("waiting up to %.0f s for what still runs: %s", LEFT_SECONDS, ", ".join(names))
        said = True
        time.sleep(0.05)


def _others() -> list[str]:
    threads = [t for t in threading.enumerate() if t is not threading.main_thread() and not t.daemon]
    processes = [p for p in multiprocessing.active_children() if not p.daemon]
    return [f"thread {t.name}" for t in threads] + [f"process {p.name}" for p in processes]


def take(environment: Mapping[str, str]) -> None:
    """Have what the supervisor has that the server had not: devices among it, and no others are used."""
    os.environ.update(environment)
    if "OMP_NUM_THREADS" in environment:
        import torch

        # Read from the environment when torch was loaded, which in the server was long ago.
        torch.set_num_threads(int(environment["OMP_NUM_THREADS"]))


def report(error: BaseException, job: Job, attempt: int, rank: int) -> None:
    """Leave the error where the supervisor, which reports it, finds it.

    Print only where in the user's code it came up.
    """
    facts = facts_of(error, rank, getattr(error, "nimble_step", None))
    # Asked to end, a rank has nothing of its own to complain about.
    facts["asked"] = asked.stop and not isinstance(error, SystemExit)
    write_json(job.folder.error_file(attempt, rank), facts)
    if isinstance(error, SystemExit) or facts["asked"] or is_consequence(facts["bases"], facts["message"]):
        return
    said = printable(cut(redact(f"{error}" if isinstance(error, NimbleError) else _last_lines(error))))
    if frames := users_part(error):
        print(printable(frames), file=sys.stderr, flush=True)
    # The supervisor says one line; a longer message is for here.
    if "\n" in said and not isinstance(error, NimbleError):
        print(said, file=sys.stderr, flush=True)
    else:
        output.note(said)


def users_part(error: BaseException) -> str:
    """The traceback less the frames of libraries: what the user can change; empty where there is nothing.

    Errors of ours are a sentence that says where already.
    """
    frames = [] if isinstance(error, NimbleError) else traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if not frame.filename.startswith(_NOT_THE_USERS)]
    if not own:
        return ""
    lines = ["Traceback (your code; the whole one is in errors/):\n", *traceback.format_list(own)]
    return "".join(lines).rstrip()


def _last_lines(error: BaseException) -> str:
    return "".join(traceback.format_exception_only(error)).rstrip()


def leave(error: BaseException) -> None:
    """End a failed process at once, without the clean-up that would wait for ranks that are gone.

    Never with code 0, whatever `sys.exit` was given: torchelastic would wait for the answer of a success.
    """
    for stream in (sys.stdout, sys.stderr):
        # Who read it may be gone.
        with suppress(OSError):
            stream.flush()
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        os._exit(DISK_FULL)
    code = error.code if isinstance(error, SystemExit) else 1
    os._exit(code if isinstance(code, int) and code else 1)
