"""On a real Slurm a sweep is an array, whoever watches it and whatever proposes its members."""

from __future__ import annotations

import json
import signal

import pytest
from forked_command import Command
from slurm.asking import MARKS, RUNS, SETTINGS, command, record, wait_for

pytestmark = [*MARKS, pytest.mark.soak]


def test_a_sweep_is_an_array_with_a_table_at_its_end() -> None:
    words = [*SETTINGS, "params.step_seconds=0", "params.samples=48,0,96", "sweep_id=s", "launch=slurm"]
    text = command("-m", *words, code=1)
    statuses = {
        n: json.loads((RUNS / "s" / n / "run.json").read_text())["status"] for n in map(str, range(3))
    }
    assert statuses == {"0": "finished", "1": "failed", "2": "finished"}, text
    assert "3 members are Slurm job" in text
    assert "Job 1: failed" in text
    assert "params.samples=96  finished" in text, text
    # Again: only the one that failed.
    text = command("-m", *words, "launch.wait=false")
    assert "1 members are Slurm job" in text


def test_watching_a_sweep_can_be_given_up_and_taken_up_again() -> None:
    words = ["-m", *SETTINGS, "params.samples=48,96", "sweep_id=s", "launch=slurm"]
    watching = Command(*words)
    wait_for(lambda: (RUNS / "s/1/slurm.json").exists())
    watching.send_signal(signal.SIGINT)
    assert "The members go on in Slurm" in watching.end_with(130)
    text = command(*words)
    assert "members are Slurm job" not in text, "they were handed in twice"
    assert [record(f"s/{n}")["status"] for n in range(2)] == ["finished"] * 2, text


def test_a_search_hands_in_what_it_proposes() -> None:
    pytest.importorskip("optuna")
    text = command(
        "-m", *SETTINGS, "params.step_seconds=0", "params.lr=interval(1e-4,1e-1)", "sweep_id=s",
        "launch=slurm", "launch.jobs=2", "hydra/sweeper=search", "hydra.sweeper.trials=3", "monitor=val_loss",
    )  # fmt: skip
    assert [record(f"s/{n}")["status"] for n in range(3)] == ["finished"] * 3, text
    assert "best: job" in text


def test_the_submitit_launcher_runs_members_as_well() -> None:
    pytest.importorskip("submitit")
    text = command(
        "-m", *SETTINGS, "params.step_seconds=0", "params.samples=48,96", "sweep_id=s",
        "hydra/launcher=submitit_slurm", "hydra.launcher.partition=low",
    )  # fmt: skip
    assert [record(f"s/{n}")["status"] for n in range(2)] == ["finished"] * 2, text
