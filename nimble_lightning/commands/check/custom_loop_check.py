"""A trainer whose `train` does everything itself: nothing of it can be cut, only watched for a while."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from nimble_lightning.commands.check.findings import MethodFindings, failure
from nimble_lightning.commands.check.trial import Trial
from nimble_lightning.ops.exit_codes import ExitCode

# With the start of the first worker in it.
SECONDS = 20.0


@contextmanager
def limited() -> Iterator[None]:
    """Ask the run in this block to stop when its time is over, as a scheduler would."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGALRM, lambda number, frame: os.kill(os.getpid(), signal.SIGTERM))
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def examine_whole(trial: Trial) -> tuple[MethodFindings, dict[str, str]]:
    """What one run of it, or the beginning of one, says; and a remark for each method."""
    verdict, status = MethodFindings(), trial.result.status
    stopped = status == "stopped" and trial.result.exit_code == ExitCode.TERMINATED
    remark = f"no error in {SECONDS:.0f} s; not waited for" if stopped else "trains by itself, once"
    if status != "finished" and not stopped:
        method, sentence = failure(trial)
        verdict.wrong.update({"pre_process": ""} if method != "pre_process" else {}, **{method: sentence})
        return verdict, {}
    verdict.wrong.update(pre_process="", train="")
    timing = ("global_step", "train_")
    figures = [name for name in trial.result.metrics if not name.startswith(timing)]
    if figures:
        verdict.wrong["evaluate"] = ""
    if trial.shown is not None:
        broken = [entry["error"] for entry in trial.shown if "error" in entry]
        verdict.wrong["predict_and_show"] = broken[0] if broken else ""
    return verdict, {"train": remark, "evaluate": ", ".join(figures)}
