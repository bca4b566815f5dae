"""What a worker says of a finished training arrives as it was said."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from nimble_lightning.ops.run_files import write_json
from nimble_lightning.run_folder import RunFolder
from nimble_lightning.runs.finished_flag import FinishedFlag
from nimble_lightning.validators import Verdict
from nimble_lightning.validators.verdict import NOT_JUDGED, Check


@pytest.mark.parametrize(
    "flag",
    [
        FinishedFlag({"global_step": 3}),
        FinishedFlag(
            {"global_step": 3, "accuracy": 0.5},
            2,
            {"metric": "accuracy", "step": 2},
            "best.ckpt",
            "early stopping",
            Verdict(True, "fine", (Check("a > 1", True, 2.0, 1.0),), {"notes": ["n"]}, "Threshold"),
            4,
            True,
        ),
    ],
)
def test_it_is_read_as_it_was_written(tmp_path: Path, flag: FinishedFlag) -> None:
    flag.write(RunFolder(tmp_path))
    assert FinishedFlag.read(RunFolder(tmp_path)) == flag


def test_a_run_without_one_is_not_done_and_one_of_earlier_versions_is(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    assert FinishedFlag.read(folder) is None
    write_json(folder.finished, {"metrics": {}, "of_another_version": 1})
    flag = FinishedFlag.read(folder)
    assert flag is not None
    assert (flag.global_step, flag.epochs, flag.verdict) == (None, None, NOT_JUDGED)


def test_figures_that_are_no_numbers_are_null_in_the_file(tmp_path: Path) -> None:
    verdict = Verdict(False, "lost", (Check("loss < 1", False, math.nan, 1.0),))
    FinishedFlag(verdict=verdict).write(RunFolder(tmp_path))
    flag = FinishedFlag.read(RunFolder(tmp_path))
    assert flag is not None
    assert flag.verdict.criteria[0].value is None
