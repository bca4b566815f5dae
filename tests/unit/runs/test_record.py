"""run.json says how each attempt began and ended, over all commands."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nimble_lightning.ops.end_causes import Cause
from nimble_lightning.run_folder import RunFolder
from nimble_lightning.runs.finished_flag import FinishedFlag
from nimble_lightning.runs.outcome import Outcome
from nimble_lightning.runs.record import Record
from nimble_lightning.validators.verdict import NOT_JUDGED


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    folder = RunFolder(tmp_path)
    folder.create()
    return folder


def test_an_attempt_is_on_disk_when_it_begins_and_when_it_ends(folder: RunFolder) -> None:
    record = Record(folder, "some")
    assert record.begin(None, 0) == 1
    assert json.loads(folder.run.read_text())["attempts"][0]["first_step"] == 0
    record.end(Outcome(Cause.KILLED, "killed by SIGKILL", 1), 12)
    attempt = json.loads(folder.run.read_text())["attempts"][0]
    assert (attempt["cause"], attempt["rank"], attempt["last_step"]) == ("killed", 1, 12)


def test_a_later_command_goes_on_counting_attempts_and_their_time(folder: RunFolder) -> None:
    first = Record(folder, "some")
    first.begin(None, 0)
    first.end(Outcome(Cause.STOPPED), 5)
    first.attempts[0].update(start=100.0, end=160.0)
    first.update(status="stopped")
    second = Record(folder, "some")
    assert second.spent == 60
    assert second.begin("step-5.ckpt", 5) == 2
    assert second.content["status"] == "running"


def test_an_attempt_cut_off_with_its_supervisor_counts_no_time(folder: RunFolder) -> None:
    Record(folder, "some").begin(None, 0)
    assert Record(folder, "some").spent == 0


@pytest.mark.parametrize(
    ("first", "expected"),
    [
        (10, {"global_step": 10, "train_runtime": 60.0, "val_loss": 0.25}),
        (5, {"global_step": 10, "train_runtime": 0.1, "val_loss": 0.25}),
    ],
)
def test_where_nothing_was_left_to_train_the_training_took_what_it_took(
    folder: RunFolder, first: int, expected: dict[str, float]
) -> None:
    record = Record(folder, "some")
    record.begin(None, first)
    record.update(metrics={"global_step": 10, "train_runtime": 60.0, "val_loss": 0.5})
    evaluated = {"global_step": 10, "train_runtime": 0.1, "val_loss": 0.25}
    record.finish(FinishedFlag(evaluated), NOT_JUDGED)
    assert json.loads(folder.run.read_text())["metrics"] == expected
