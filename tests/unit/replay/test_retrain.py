"""A stretch of a run is handed, as a run of its own, to whatever runs jobs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nimble_lightning.errors import RequestError
from nimble_lightning.proof import Report
from nimble_lightning.replay.retrain import ReplayTerms, replay
from nimble_lightning.runs.job import Job
from nimble_lightning.runs.result import Result

COMMITS = [f"checkpoints/steps/step-{step:08}.ckpt" for step in (4, 8)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "mine.py").write_text("class Mine: ...\n")
    for name in COMMITS:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def report(folder: Path) -> Report:
    config = {
        "trainer": f"{folder / 'mine.py'}:Mine",
        "callbacks": {"notification": {"urls": ["json://somewhere"]}, "ema": {"decay": 0.9}},
        "launch": {"name": "slurm"},
        "params": {"rows": 10, "lr": 0.1},
        "validator": {"_target_": "nimble_lightning.validators.Replay", "stretches": 1},
    }
    entries = [{"name": name, "step": step, "threads": 2} for name, step in zip(COMMITS, (4, 8), strict=True)]
    return Report(claims={"config": config, "checkpoints": entries})


def test_it_is_the_run_from_one_commit_to_the_next_and_nothing_that_only_watches(folder: Path) -> None:
    asked: list[dict[str, Any]] = []

    def train(job: Job) -> Result:
        asked.append(job.resolved())
        return Result("stopped", {}, job.folder.path)

    replay(folder, report(folder), ReplayTerms(any_trainer=True, params={"rows": 20}), train)
    [config] = asked
    assert config["resume"] == str(folder / COMMITS[0])
    assert config["callbacks"]["replay"]["until"] == 8
    assert config["callbacks"].keys() == {"ema", "replay"}
    assert config["params"] == {"rows": 20, "lr": 0.1}
    # Neither in the queue that the run was in, nor trained again in its turn.
    assert (config["launch"], config["validator"]) == ({"name": "local"}, None)


def test_where_no_checkpoint_comes_of_it_what_it_ended_with_is_said(folder: Path) -> None:
    found = report(folder)

    def train(job: Job) -> Result:
        print("said by the run")
        return Result("failed", {}, job.folder.path, message="failed: no such data")

    replay(folder, found, ReplayTerms(any_trainer=True), train)
    assert not found.verified
    assert found.replays[0]["text"] == "cannot be trained again: failed: no such data"


def test_another_trainer_than_the_signed_one_is_not_trained(folder: Path) -> None:
    with pytest.raises(RequestError, match="does not say which trainer"):
        replay(folder, report(folder), ReplayTerms(), lambda job: pytest.fail("nothing is trained"))
