"""On a real Slurm: runs taken off their nodes are queued again, and end as if nothing had happened."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from killing import digests
from slurm import cluster

why_not = cluster.why_not()
pytestmark = [
    pytest.mark.skipif(why_not is not None, reason=f"no Slurm here: {why_not}"),
    pytest.mark.timeout(600),
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
MULTINODE = Path(__file__).parents[2] / "conf/launch/multinode.yaml"
# Lightning would install handlers of its own, and queue the job again by itself.
WATCH = """
from pathlib import Path
import lightning as L

class Watch(L.Callback):
    def on_train_start(self, trainer, module):
        Path("environment").write_text(type(trainer._accelerator_connector.cluster_environment).__name__)
"""


@pytest.fixture(scope="module")
def rig() -> Iterator[dict[str, str]]:
    with cluster.running() as environment:
        yield environment


@pytest.fixture(autouse=True)
def on_the_rig(rig: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name, value in rig.items():
        monkeypatch.setenv(name, value)
    yield
    slurm("scancel", "--user=root")
    wait_for(lambda: not slurm("squeue", "--noheader"))


def slurm(*words: str) -> str:
    return subprocess.run(words, capture_output=True, text=True).stdout.strip()


def command(*words: str, code: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "nimble_lightning", *words], capture_output=True, text=True, timeout=500
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


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
        from nimble_lightning.runtime.standing import standing

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


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What the run comes to where nothing happens to it."""
    folder = tmp_path_factory.mktemp("undisturbed")
    # How long its steps pretend to take changes nothing else.
    command(*SETTINGS, f"output_dir={folder}", "run_id=x", "params.step_seconds=0")
    return digests(folder / "tiny/x")


def preempt() -> None:
    """A job of more weight takes both nodes for a moment."""
    slurm("sbatch", "--partition=high", "--nodes=2", "--exclusive", "--output=/dev/null", "--wrap=sleep 1")


def test_a_run_in_the_queue_ends_with_the_bits_of_one_here(undisturbed: dict[str, str]) -> None:
    job = submit("some", "params.step_seconds=0")
    wait_for(ended(job))
    assert causes("some") == ["finished"], said("some")
    assert record("some")["attempts"][0]["slurm_job"] == job
    assert digests(RUNS / "some") == undisturbed


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
def test_watching_a_sweep_can_be_given_up_and_taken_up_again() -> None:
    words = ["-m", *SETTINGS, "params.samples=48,96", "sweep_id=s", "launch=slurm"]
    watching = subprocess.Popen(
        [sys.executable, "-m", "nimble_lightning", *words], stdout=subprocess.PIPE, text=True
    )
    wait_for(lambda: (RUNS / "s/1/slurm.json").exists())
    watching.send_signal(signal.SIGINT)
    text, _ = watching.communicate(timeout=60)
    assert watching.returncode == 130
    assert "The members go on in Slurm" in text
    text = command(*words)
    assert "members are Slurm job" not in text, "they were handed in twice"
    assert [record(f"s/{n}")["status"] for n in range(2)] == ["finished"] * 2, text


@pytest.mark.soak
def test_a_search_hands_in_what_it_proposes() -> None:
    pytest.importorskip("optuna")
    text = command(
        "-m", *SETTINGS, "params.step_seconds=0", "params.lr=interval(1e-4,1e-1)", "sweep_id=s",
        "launch=slurm", "launch.jobs=2", "hydra/sweeper=search", "hydra.sweeper.trials=3",
    )  # fmt: skip
    assert [record(f"s/{n}")["status"] for n in range(3)] == ["finished"] * 3, text
    assert "best: job" in text


@pytest.mark.soak
def test_the_submitit_launcher_runs_members_as_well() -> None:
    pytest.importorskip("submitit")
    text = command(
        "-m", *SETTINGS, "params.step_seconds=0", "params.samples=48,96", "sweep_id=s",
        "hydra/launcher=submitit_slurm", "hydra.launcher.partition=low",
    )  # fmt: skip
    assert [record(f"s/{n}")["status"] for n in range(2)] == ["finished"] * 2, text


@pytest.mark.soak
@pytest.mark.skipif(not MULTINODE.exists(), reason="launch=multinode is not there yet")
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
