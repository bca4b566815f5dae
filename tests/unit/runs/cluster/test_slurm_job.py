"""What a task makes of what Slurm says about its job; the answers are those that a Slurm 22.05 gave."""

from __future__ import annotations

from pathlib import Path

import pytest

from nimble_lightning.errors import RequestError
from nimble_lightning.launch.slurm import submit
from nimble_lightning.runs.cluster import slurm_job
from nimble_lightning.runs.cluster.slurm_job import SlurmJob
from nimble_lightning.runs.lock import RunLock

JOB = (
    "JobId={job} JobName=x Requeue={requeue} Restarts={restarts} BatchFlag=1 JobState={state} Reason={reason}"
)


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for commands that answer, found before any other."""
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setenv(slurm_job.OURS, "1")
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    return tmp_path


def answers(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\necho '{text}'\n")
    (folder / name).chmod(0o755)


@pytest.mark.parametrize(
    ("state", "reason", "restarts", "requeue", "comes_back"),
    [
        # Its time is nearly up, or it was preempted and has a moment of grace.
        ("RUNNING", "None", 0, 1, True),
        # Its time was up before it had ended.
        ("COMPLETING", "TimeLimit", 0, 1, True),
        # Preempted without one: Slurm has queued it already.
        ("COMPLETING", "None", 1, 1, True),
        # Cancelled by somebody.
        ("COMPLETING", "None", 0, 1, False),
        ("CANCELLED", "None", 0, 1, False),
        # Nobody wants it to.
        ("RUNNING", "None", 0, 0, False),
    ],
)
def test_a_job_comes_back_unless_it_was_cancelled(
    slurm: Path, state: str, reason: str, restarts: int, requeue: int, comes_back: bool
) -> None:
    answers(
        slurm, "scontrol", JOB.format(job=12, state=state, reason=reason, restarts=restarts, requeue=requeue)
    )
    assert SlurmJob().comes_back() is comes_back


def test_a_job_that_came_back_and_is_cancelled_stays_away(
    slurm: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    answers(slurm, "scontrol", JOB.format(job=12, state="COMPLETING", reason="None", restarts=1, requeue=1))
    assert not SlurmJob().comes_back()


def test_a_slurm_that_does_not_answer_promises_nothing(slurm: Path) -> None:
    answers(slurm, "scontrol", "slurm_load_jobs error: Unable to contact slurm controller")
    assert not SlurmJob().comes_back()


def test_somebody_elses_job_is_left_alone(slurm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(slurm_job.OURS)
    answers(slurm, "scontrol", JOB.format(job=12, state="RUNNING", reason="None", restarts=0, requeue=1))
    assert SlurmJob().job_id is None
    assert not SlurmJob().comes_back()
    assert not SlurmJob().queue_again()


def test_a_member_of_an_array_is_never_named_by_its_bare_number(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        slurm_job.OURS: "1",
        "SLURM_JOB_ID": "12",
        "SLURM_ARRAY_JOB_ID": "12",
        "SLURM_ARRAY_TASK_ID": "3",
    }.items():
        monkeypatch.setenv(name, value)
    assert SlurmJob().job_id == "12_3"


def test_one_node_is_a_machine_and_several_meet_at_the_first(
    slurm: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_JOB_NUM_NODES", "1")
    assert slurm_job.launch() == {"name": "local"}
    monkeypatch.setenv("SLURM_JOB_NUM_NODES", "2")
    answers(slurm, "scontrol", "localhost\nlocalhost2")
    meeting = {"name": "multinode", "nnodes": "2", "rdzv_endpoint": "localhost:10012"}
    assert slurm_job.launch() == meeting
    answers(slurm, "scontrol", "n1.invalid\nn2.invalid")
    monkeypatch.setenv("SLURM_LAUNCH_NODE_IPADDR", "10.0.0.7")
    assert slurm_job.launch() == {**meeting, "rdzv_endpoint": "10.0.0.7:10012"}


@pytest.mark.parametrize(("owner", "queue"), [("12", "12|RUNNING"), ("11", "12|RUNNING")])
def test_the_lock_of_a_job_whose_machine_is_gone_is_broken(slurm: Path, owner: str, queue: str) -> None:
    answers(slurm, "squeue", queue)
    lock = slurm / "run.lock"
    lock.write_text(f'{{"pid": 1, "host": "elsewhere", "boot": "", "slurm_job": "{owner}"}}')
    with RunLock(lock):
        assert '"slurm_job": "12"' in lock.read_text()


def test_the_lock_of_a_job_that_goes_on_holds(slurm: Path) -> None:
    answers(slurm, "squeue", "11|RUNNING")
    lock = slurm / "run.lock"
    lock.write_text('{"pid": 1, "host": "elsewhere", "boot": "", "slurm_job": "11"}')
    with pytest.raises(RequestError, match="belongs to process 1 on elsewhere"), RunLock(lock):
        pass


def test_a_folder_of_this_machine_is_refused_when_the_nodes_are_others(slurm: Path) -> None:
    answers(slurm, "sinfo", "node-1\nnode-2")
    with pytest.raises(RequestError, match="is on a disk of this machine"):
        submit._check_shared(slurm / "run")
