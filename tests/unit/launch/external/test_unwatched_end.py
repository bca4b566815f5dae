"""An attempt that nobody watched is told as far as it can be known."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from nimble_lightning.launch.external.detect import TORCHRUN, Ranks
from nimble_lightning.launch.external.first_rank import why_ended
from nimble_lightning.ops.failures import facts_of
from nimble_lightning.ops.run_files import write_json
from nimble_lightning.run_folder import RunFolder
from nimble_lightning.runs.heartbeat import Heart, Phase

RANKS = Ranks(TORCHRUN, 0, 2, 0, 2)
LOST = RuntimeError("Connection closed by peer [127.0.0.1]:1234")
TOLD = SystemExit(143)


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    folder = RunFolder(tmp_path)
    folder.create()
    return folder


def dead() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def beat(folder: RunFolder, rank: int, step: int, pid: int | None = None) -> None:
    heart = Heart(folder.heartbeat(1, rank))
    heart._pid = os.getpid() if pid is None else pid
    heart.beat(step, Phase.TRAINING)


def wrote(folder: RunFolder, rank: int, error: BaseException) -> None:
    write_json(folder.error_file(1, rank), facts_of(error, rank, 7))


def test_a_rank_that_is_gone_without_a_word_was_killed(folder: RunFolder) -> None:
    beat(folder, 0, 5)
    beat(folder, 1, 6, dead())
    wrote(folder, 0, LOST)
    outcome = why_ended(LOST, folder, 1, RANKS)
    assert (outcome.cause, outcome.rank, outcome.step) == ("killed", 1, 6)


def test_the_error_of_another_rank_comes_before_what_it_did_to_the_first(folder: RunFolder) -> None:
    beat(folder, 0, 5)
    wrote(folder, 0, LOST)
    wrote(folder, 1, ValueError("no such thing"))
    outcome = why_ended(LOST, folder, 1, RANKS)
    assert (outcome.cause, outcome.rank) == ("deterministic", 1)
    assert outcome.reason == "ValueError: no such thing"


def test_an_error_of_the_first_rank_is_its_own_and_waits_for_nobody(folder: RunFolder) -> None:
    beat(folder, 0, 5)
    beat(folder, 1, 5)
    error = ValueError("mine")
    wrote(folder, 0, error)
    outcome = why_ended(error, folder, 1, RANKS)
    assert (outcome.rank, outcome.reason) == (0, "ValueError: mine")


def test_a_first_rank_told_to_end_because_another_was_killed_says_so(folder: RunFolder) -> None:
    beat(folder, 0, 5)
    beat(folder, 1, 6, dead())
    wrote(folder, 0, TOLD)
    outcome = why_ended(TOLD, folder, 1, RANKS)
    assert (outcome.cause, outcome.rank, outcome.step) == ("killed", 1, 6)


def test_ranks_that_are_told_to_end_together_were_preempted(folder: RunFolder) -> None:
    beat(folder, 0, 5)
    beat(folder, 1, 5)
    wrote(folder, 0, TOLD)
    assert why_ended(TOLD, folder, 1, RANKS).cause == "preempted"
