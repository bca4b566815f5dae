"""On a real Slurm: runs taken off their nodes are queued again, and end as if nothing had happened."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from killed_runs import digests
from slurm.asking import (
    MARKS,
    RUNS,
    SETTINGS,
    causes,
    command,
    ended,
    in_training,
    preempt,
    record,
    said,
    slurm,
    submit,
    wait_for,
)

pytestmark = MARKS

# Lightning would install handlers of its own, and queue the job again by itself.
WATCH = """
from pathlib import Path
import lightning as L

class Watch(L.Callback):
    def on_train_start(self, trainer, module):
        Path("environment").write_text(type(trainer._accelerator_connector.cluster_environment).__name__)
"""


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What the run comes to where nothing happens to it."""
    folder = tmp_path_factory.mktemp("undisturbed")
    # How long its steps pretend to take changes nothing else.
    command(*SETTINGS, f"output_dir={folder}", "run_id=x", "params.step_seconds=0")
    return digests(folder / "tiny/x")


def test_a_run_in_the_queue_ends_with_the_bits_of_one_here(undisturbed: dict[str, str]) -> None:
    job = submit("some", "params.step_seconds=0")
    wait_for(ended(job))
    assert causes("some") == ["finished"], said("some")
    assert record("some")["attempts"][0]["slurm_job"] == job
    assert digests(RUNS / "some") == undisturbed


def test_what_slurm_does_not_take_is_said_before_anything_is_in_the_queue(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = command(*SETTINGS, "run_id=some", "launch=slurm", "launch.partition=nope", code=2)
    assert "Slurm does not take the job: invalid partition specified: nope" in text
    slurm("scontrol", "update", "partition=low", "state=down")
    try:
        submit("some", "launch.partition=low")
        text = command(*SETTINGS, "run_id=some", "launch=slurm", "launch.partition=low", code=2)
        assert "is in Slurm already, as job" in text
    finally:
        slurm("scontrol", "update", "partition=low", "state=up")
    with monkeypatch.context() as elsewhere:
        elsewhere.setenv("PATH", "")
        text = command(*SETTINGS, "run_id=other", "launch=slurm", code=2)
    assert "needs the command sbatch, which is not here" in text


@pytest.mark.soak
def test_a_preempted_run_is_queued_again_and_ends_with_the_same_bits(undisturbed: dict[str, str]) -> None:
    Path("watch.py").write_text(WATCH)
    job = submit("some", "launch.partition=low", "+callbacks.watch._target_=watch.Watch")
    wait_for(in_training("some"))
    preempt()
    wait_for(ended(job))
    assert causes("some") == ["preempted", "finished"], said("some")
    first, second = record("some")["attempts"]
    # Of what was done nothing is done again.
    assert second["first_step"] == first["last_step"] >= 7
    assert {first["slurm_job"], second["slurm_job"]} == {job}
    assert digests(RUNS / "some") == undisturbed
    kinds = [
        json.loads(line)["kind"]
        for line in (RUNS / "some/outbox/events.jsonl").read_text().splitlines()
        if line
    ]
    assert "preempted" in kinds
    assert "stopped" not in kinds
    assert Path("environment").read_text() == "TorchElasticEnvironment"
    told = command(*SETTINGS, "run_id=some", "launch=slurm")
    assert "finished already" in told
    assert not slurm("squeue", "--noheader")


@pytest.mark.soak
def test_a_moment_of_grace_is_used_to_commit_and_to_be_queued_again(undisturbed: dict[str, str]) -> None:
    job = submit("some", "launch.partition=graced")
    wait_for(in_training("some"))
    preempt()
    wait_for(ended(job))
    # Slurm itself does nothing for a job that ends within its grace.
    assert causes("some") == ["preempted", "finished"], said("some")
    assert digests(RUNS / "some") == undisturbed


@pytest.mark.soak
def test_a_run_longer_than_its_time_limit_takes_several_jobs() -> None:
    words = [*SETTINGS, "lightning.max_epochs=12", "params.step_seconds=0.5", "run_id=some"]
    command(*words, "launch=slurm", "launch.time=1", "launch.margin=20")
    wait_for(lambda: record("some")["status"] == "finished", 900)
    assert causes("some")[0] == "preempted", said("some")
    assert causes("some")[-1] == "finished", said("some")
    starts = record("some")["attempts"]
    for earlier, later in zip(starts, starts[1:], strict=False):
        assert later["first_step"] == earlier["last_step"]
    assert starts[-1]["last_step"] == 144


@pytest.mark.soak
def test_a_cancelled_run_stays_stopped_and_goes_on_when_asked_again() -> None:
    job = submit("some", "launch.partition=low")
    wait_for(in_training("some"))
    slurm("scancel", job)
    wait_for(ended(job))
    assert record("some")["status"] == "stopped", said("some")
    assert causes("some") == ["stopped"]
    assert not slurm("squeue", "--noheader")
    command(*SETTINGS, "run_id=some", "launch=slurm", "launch.wait=true")
    assert causes("some") == ["stopped", "finished"]


@pytest.mark.soak
def test_a_failed_run_ends_with_its_code_and_is_not_queued_again() -> None:
    command(*SETTINGS, "run_id=some", "launch=slurm", "launch.wait=true", "params.samples=0", code=1)
    assert record("some")["status"] == "failed"
    assert not slurm("squeue", "--noheader")


@pytest.mark.soak
def test_a_node_that_fails_costs_the_run_nothing_but_time(undisturbed: dict[str, str]) -> None:
    job = submit("some", "launch.partition=low")
    wait_for(in_training("some"))
    node = slurm("squeue", "--noheader", f"--jobs={job}", "--format=%N")
    for process in of_the_job(job):
        process.kill()
    slurm("scontrol", "update", f"node={node}", "state=down", "reason=test")
    try:
        wait_for(ended(job))
    finally:
        slurm("scontrol", "update", f"node={node}", "state=resume")
    assert causes("some")[-1] == "finished", said("some")
    assert digests(RUNS / "some") == undisturbed


@pytest.mark.soak
def test_a_supervisor_that_is_killed_is_started_again_where_it_was(undisturbed: dict[str, str]) -> None:
    job = submit("some", "launch.partition=low")
    wait_for(in_training("some"))
    owner = json.loads((RUNS / "some/run.lock").read_text())
    assert owner["slurm_job"] == job
    psutil.Process(owner["pid"]).kill()
    wait_for(ended(job))
    assert record("some")["status"] == "finished", said("some")
    assert {attempt["slurm_job"] for attempt in record("some")["attempts"]} == {job}
    assert digests(RUNS / "some") == undisturbed


@pytest.mark.soak
def test_two_nodes_train_one_run_and_survive_a_preemption_together() -> None:
    job = submit("some", "launch.partition=low", "launch.nodes=2", "strategy=ddp", "lightning.devices=1")
    wait_for(in_training("some"))
    preempt()
    wait_for(ended(job), 400)
    assert causes("some") == ["preempted", "finished"], said("some")


def of_the_job(job: str) -> list[psutil.Process]:
    """All that runs for a job on its nodes, what starts its tasks included."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.environ().get("SLURM_JOB_ID") == job:
                found += [process, *(p for p in process.parents() if p.name() == "slurmstepd")]
    return found
