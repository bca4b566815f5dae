"""From which checkpoint an attempt continues, and what is said about those it cannot use."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from nimble_lightning.checkpoint import NimbleCheckpointIO
from nimble_lightning.errors import RequestError
from nimble_lightning.runs.job import Job
from nimble_lightning.runs.resume import find


@pytest.fixture
def job() -> Job:
    made = Job.from_config(OmegaConf.create({"run_id": "one", "resume": "auto"}), trainer="a.py:A")
    made.save()
    return made


def commit(job: Job, step: int, run_id: str = "one") -> Path:
    path = job.folder.steps / f"step-{step:08d}.ckpt"
    state = {
        "state_dict": {"w": torch.ones(50)},
        "global_step": step,
        "epoch": 0,
        "nimble": {"run_id": run_id},
    }
    NimbleCheckpointIO().save_checkpoint(state, path)
    return path


def damage(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def test_a_run_without_a_checkpoint_starts_and_says_nothing(
    job: Job, caplog: pytest.LogCaptureFixture
) -> None:
    assert find(job, first_of_command=True) == (None, 0)
    assert caplog.messages == []


def test_the_newest_whole_one_is_taken_and_the_others_are_named(
    job: Job, caplog: pytest.LogCaptureFixture
) -> None:
    older, newest = commit(job, 5), commit(job, 10)
    damage(newest)
    assert find(job, first_of_command=True) == (str(older), 5)
    assert "step-00000010.ckpt" in caplog.text


def test_a_run_that_has_to_start_over_says_why(job: Job, caplog: pytest.LogCaptureFixture) -> None:
    damage(commit(job, 5))
    commit(job, 10, run_id="another")
    assert find(job, first_of_command=True) == (None, 0)
    assert "step-00000005.ckpt" in caplog.text
    assert "step-00000010.ckpt" in caplog.text
    assert "starts from the beginning" in caplog.text


def test_what_a_killed_save_left_is_cleared_away(job: Job) -> None:
    commit(job, 5)
    left = job.folder.steps / ".step-00000010.ckpt.tmp-4194305"
    left.write_bytes(b"half of a checkpoint")
    find(job, first_of_command=False)
    assert not left.exists()


def test_resume_decides_for_the_first_attempt_only(job: Job) -> None:
    own = commit(job, 5)
    afresh = job.with_changes({"resume": "never"})
    assert find(afresh, first_of_command=True) == (None, 0)
    kept = job.folder.path / "checkpoints.before-1" / "steps" / own.name
    assert kept.exists()
    later = commit(job, 7)
    assert find(afresh, first_of_command=False) == (str(later), 7)
    given = job.with_changes({"resume": str(kept)})
    assert find(given, first_of_command=True) == (str(kept), 5)
    damage(kept)
    with pytest.raises(RequestError, match="cannot be used"):
        find(given, first_of_command=True)
