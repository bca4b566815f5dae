"""`nimble-cli check FILE`: every method twice on a sliver of data, on one process and on two."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from omegaconf import DictConfig

from nimble_lightning.commands.check.findings import (
    METHODS,
    RESUME,
    MethodFindings,
    PairOfTrials,
    examine,
    failure,
)
from nimble_lightning.commands.check.lines import Lines
from nimble_lightning.commands.check.trial import STEPS, Trial, Trials
from nimble_lightning.ops.exit_codes import ExitCode

_NO_VERDICT = (ExitCode.INTERRUPTED, ExitCode.TERMINATED, ExitCode.REFUSED)


_WORDS = {None: "-", "": "ok"}


# With the start of the first worker in it.
_SECONDS = 20.0


class _NoVerdict(Exception):
    """A trial was stopped, or could not be made of what was asked."""

    def __init__(self, trial: Trial) -> None:
        super().__init__(trial.result.message)
        self.exit_code = trial.result.exit_code


def check(config: DictConfig, trainer: str) -> int:
    """Try a trainer in a temporary folder and print what passed; returns the exit code.

    Args:
        config: What was asked, composed and checked as for a run.
        trainer: `/absolute/file.py:Class` or `package.module:Class`.
    """
    lines, began = Lines(trainer), time.monotonic()
    with tempfile.TemporaryDirectory(prefix="nimble-check-") as folder:
        trials = Trials(config, trainer, Path(folder))
        try:
            verdicts, remarks = _whole(trials) if lines.trains_by_itself else _steps(trials, lines)
        except _NoVerdict as reason:
            print(reason, file=sys.stderr)
            return reason.exit_code
    print(_render(verdicts, remarks))
    print(f"checked in {time.monotonic() - began:.1f} s")
    return ExitCode.FINISHED if all(v.passed for v in verdicts) else ExitCode.FAILED


def _steps(trials: Trials, lines: Lines) -> tuple[list[MethodFindings], dict[str, str]]:
    one = _pair(trials, 1)
    # What fails on one process would only fail again.
    two = _pair(trials, 2) if one.straight.result.status == "finished" else None
    verdicts = [examine(one, lines), examine(two, lines, one) if two else MethodFindings()]
    return verdicts, _notes(one, trials.samples)


def _whole(trials: Trials) -> tuple[list[MethodFindings], dict[str, str]]:
    with _limited():
        trial = trials.run("whole", processes=1, kill=False)
    if trial.result.exit_code in (ExitCode.INTERRUPTED, ExitCode.REFUSED):
        raise _NoVerdict(trial)
    verdict, remarks = _examine_whole(trial)
    return [verdict, MethodFindings()], remarks


def _pair(trials: Trials, processes: int) -> PairOfTrials:
    """A trial that runs through; if it does, another that is killed on the way."""
    pair = PairOfTrials(trials.run(f"straight-{processes}", processes=processes, kill=False))
    if pair.straight.result.status == "finished":
        pair.killed = trials.run(f"killed-{processes}", processes=processes, kill=True)
    for trial in (pair.straight, pair.killed):
        if trial is not None and trial.result.exit_code in _NO_VERDICT:
            raise _NoVerdict(trial)
    return pair


def _render(verdicts: list[MethodFindings], remarks: dict[str, str]) -> str:
    """One row a method, one column for each number of processes."""
    rows = [["", "1 process", "2 processes", ""]]
    for method in (*METHODS, RESUME):
        cells = [_WORDS.get(verdict.wrong[method], "FAILED") for verdict in verdicts]
        rows.append([method, *cells, remarks.get(method, "") if "ok" in cells else ""])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
    return "\n".join([*lines, *_wrong(verdicts)])


def _notes(one: PairOfTrials, samples: int) -> dict[str, str]:
    """What a passed method came to on one process."""
    found = {RESUME: "the same bits as undisturbed"}
    trial = one.straight
    for start in trial.noted("start")[:1]:
        found["pre_process"] = f"{start['seconds']:.1f} s, the same weights each time"
        several = f" of {samples} samples" if start["comparable"] else ""
        for evaluated in trial.noted("evaluated")[:1]:
            found["evaluate"] = f"{', '.join(evaluated['metrics'])}{several}"
    if losses := [note["loss"] for note in trial.noted("trained")]:
        found["train"] = f"loss {losses[0]:.4g} -> {losses[-1]:.4g} in {STEPS} steps"
    if trial.shown:
        found["predict_and_show"] = f"{len(trial.shown)} shown"
    return found


def _wrong(verdicts: list[MethodFindings]) -> list[str]:
    """Each sentence once, with the numbers of processes it holds for."""
    said: dict[str, list[str]] = {}
    for verdict, processes in zip(verdicts, ("1 process", "2 processes"), strict=True):
        for wrong in verdict.wrong.values():
            if wrong:
                said.setdefault(wrong, []).append(processes)
    return [f"FAILED on {' and '.join(where)}: {sentence}" for sentence, where in said.items()]


@contextmanager
def _limited() -> Iterator[None]:
    """Ask the run in this block to stop when its time is over, as a scheduler would."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGALRM, lambda number, frame: os.kill(os.getpid(), signal.SIGTERM))
    signal.setitimer(signal.ITIMER_REAL, _SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _examine_whole(trial: Trial) -> tuple[MethodFindings, dict[str, str]]:
    """What one run of it, or the beginning of one, says; and a remark for each method."""
    verdict, status = MethodFindings(), trial.result.status
    stopped = status == "stopped" and trial.result.exit_code == ExitCode.TERMINATED
    remark = f"no error in {_SECONDS:.0f} s; not waited for" if stopped else "trains by itself, once"
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
