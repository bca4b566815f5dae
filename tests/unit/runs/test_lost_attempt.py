"""An attempt whose supervisor was killed has an end all the same, once somebody asks for the run again."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nimble_lightning.ops.end_causes import Cause
from nimble_lightning.ops.failures import facts_of
from nimble_lightning.ops.run_files import write_json
from nimble_lightning.run_folder import RunFolder
from nimble_lightning.runs.heartbeat import Heart, Phase
from nimble_lightning.runs.lost_attempt import abandoned
from nimble_lightning.runs.outcome import Outcome
from nimble_lightning.runs.record import Record


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    folder = RunFolder(tmp_path)
    folder.create()
    return folder


@pytest.fixture
def record(folder: RunFolder) -> Record:
    """Of a run whose only rank was killed after its ninth step, and wrote nothing."""
    record = Record(folder, "some")
    record.begin(None, 0)
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    heart = Heart(folder.heartbeat(1, 0))
    heart._pid = process.pid
    heart.beat(9, Phase.TRAINING)
    return record


def test_what_never_began_was_not_abandoned(folder: RunFolder) -> None:
    assert abandoned(folder) is None


def test_it_was_killed_at_its_last_sign_of_life(folder: RunFolder, record: Record) -> None:
    lost = RuntimeError("Connection closed by peer [127.0.0.1]:1234")
    write_json(folder.error_file(1, 1), facts_of(lost, 1, 7))
    left = abandoned(folder)
    assert left is not None
    assert (left.outcome.cause, left.outcome.rank, left.step) == ("killed", 0, 9)
    assert left.at <= time.time()


def test_the_next_start_puts_it_on_record_and_its_time_counts(folder: RunFolder, record: Record) -> None:
    os.utime(folder.heartbeat(1, 0), (time.time() + 30, time.time() + 30))
    again = Record(folder, "some")
    again.end_abandoned(abandoned(folder))
    assert again.attempts[0]["cause"] == "killed"
    assert again.attempts[0]["last_step"] == 9
    assert again.spent > 29
    assert abandoned(folder) is None


def test_an_end_that_somebody_has_written_meanwhile_stays(folder: RunFolder, record: Record) -> None:
    left = abandoned(folder)
    record.end(Outcome(Cause.FINISHED), 12)
    record.end_abandoned(left)
    assert record.attempts[0]["cause"] == "finished"
