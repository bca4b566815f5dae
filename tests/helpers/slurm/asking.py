"""What tests ask of a Slurm, and of the runs in it."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from forked_command import Command
from slurm import cluster

why_not = cluster.why_not()
# What every test with a Slurm is marked with.
MARKS = [
    pytest.mark.skipif(why_not is not None, reason=f"no Slurm here: {why_not}"),
    pytest.mark.timeout(600),
    pytest.mark.usefixtures("on_the_rig"),
]
SETTINGS = [
    "trainer=nimble_lightning.testing.tiny:TinyTrainer",
    "name=tiny",
    "lightning.accelerator=cpu",
    "lightning.max_epochs=4",
    "data.batch_size=8",
    "params.step_seconds=0.1",
    "callbacks.auto_retry.save_every_n_steps=5",
    "report=false",
    "export=null",
]
RUNS = Path("outputs/tiny")


def slurm(*words: str) -> str:
    return subprocess.run(words, capture_output=True, text=True).stdout.strip()


def command(*words: str, code: int = 0) -> str:
    done = Command(*words).end(500)
    said = done.stdout + done.stderr
    assert done.returncode == code, said
    return said


def submit(run: str, *words: str) -> str:
    """Hand a run in; returns the number of its job."""
    command(*SETTINGS, f"run_id={run}", "launch=slurm", *words)
    return json.loads((RUNS / run / "slurm.json").read_text())["job"]


def record(run: str) -> dict:
    try:
        return json.loads((RUNS / run / "run.json").read_text())
    except FileNotFoundError:
        return {"status": None, "attempts": []}


def causes(run: str) -> list[str]:
    return [attempt.get("cause", "") for attempt in record(run)["attempts"]]


def said(run: str) -> str:
    return (RUNS / run / "slurm.txt").read_text()


def in_training(run: str, attempt: int = 1) -> Callable[[], bool]:
    """Whether so many attempts have begun and the last of them has made a step that is not committed yet."""

    def made() -> bool:
        from nimble_lightning.sweeps.run_progress import standing

        begun = record(run)["attempts"]
        return len(begun) == attempt and (standing(RUNS / run).step or 0) >= begun[-1]["first_step"] + 7

    return made


def wait_for(what: Callable[[], object], seconds: float = 400.0) -> None:
    until = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < until, slurm("squeue") + "".join(
            f"\n{path}: {path.read_text(errors='replace')}" for path in Path().glob("**/slurm.txt")
        )
        time.sleep(0.05)


def ended(job: str) -> Callable[[], bool]:
    """Whether a job has left the queue."""
    return lambda: not slurm("squeue", "--noheader", f"--jobs={job}")


def preempt() -> None:
    """A job of more weight takes both nodes for a moment."""
    slurm("sbatch", "--partition=high", "--nodes=2", "--exclusive", "--output=/dev/null", "--wrap=sleep 1")
