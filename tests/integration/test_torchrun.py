"""Under somebody else's launcher a command is one rank of a run, and the run is what it would be alone."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path

import psutil
import pytest
from external_launchers import OURS, RUN, TINY, by_hand, said_by, start, torchrun, until
from killed_runs import digests, faults

from nimble_lightning.cli.app import main

# Three programs that each load torch, on a machine that may be busy.
pytestmark = pytest.mark.timeout(600)

LOST = "kill@step=10,attempt=1,rank=1"


def test_two_ranks_of_torchrun_are_one_run_and_a_lost_rank_costs_no_bit(tmp_path: Path) -> None:
    """One layer of processes, one folder; torchrun starts both again, and the run goes on at its newest
    commit."""
    command = torchrun(
        *faults(LOST), "lightning.max_epochs=4", "params.step_seconds=0.02", options=["--max-restarts", "1"]
    )
    agent, seen = psutil.Process(command.pid), set()
    while command.poll() is None and not until(lambda: command.poll() is not None, 0.1):
        try:
            seen |= {tuple(child.cmdline()[1:5]) for child in agent.children(recursive=True)}
            assert len(agent.children(recursive=True)) <= 2, "a layer of its own"
        except psutil.NoSuchProcess:
            continue
    said = said_by(command)
    assert command.returncode == 0, said
    # Between its fork and its start a process still has the name of torchrun.
    programs = {words[:3] for words in seen if words and "torch.distributed.run" not in words}
    assert programs == {("-u", "-m", "nimble_lightning")}
    (folder,) = Path("outputs/tiny").iterdir()
    attempts = json.loads((folder / "run.json").read_text())["attempts"]
    assert [(a["cause"], a["rank"]) for a in attempts] == [("killed", 1), ("finished", None)]
    assert attempts[0]["last_step"] == 10
    assert attempts[1]["first_step"] == 9
    assert said.count("\nfinished ") == 1
    alone = [*TINY, *faults("kill@step=999"), "lightning.max_epochs=4", "lightning.devices=2", "run_id=alone"]
    assert main(alone) == 0
    assert digests(folder) == digests(Path("outputs/tiny/alone"))


@pytest.mark.parametrize(
    ("first", "second", "key"),
    [
        (["run_id=some", "params.hidden=16"], ["run_id=some", "params.hidden=17"], "params.hidden"),
        (["run_id=some"], ["run_id=other"], "run_id"),
        (["run_id=some"], [], "run_id"),
    ],
)
def test_ranks_that_were_given_different_settings_end_with_one_message(
    first: list[str], second: list[str], key: str
) -> None:
    ranks = [command.end() for command in by_hand(first, second)]
    assert [done.returncode for done in ranks] == [2, 2], ranks
    assert f"different values of {key};" in ranks[0].stderr
    assert ranks[1].stdout + ranks[1].stderr == ""
    assert not list(Path("outputs").rglob("run.json"))


def test_ranks_that_were_given_no_name_for_the_run_have_that_of_the_first() -> None:
    for command in by_hand(["lightning.max_epochs=1"], ["lightning.max_epochs=1"]):
        command.end_with(0)
    assert len(list(Path("outputs/tiny").iterdir())) == 1


def test_a_typo_is_told_once() -> None:
    typo = ["run_id=some", "params.hiden=16"]
    first, second = (command.end_with(2) for command in by_hand(typo, typo))
    assert "hiden" in first
    assert second == ""
    assert not Path("outputs").exists()


# --- longer ones ------------------------------------------------------------------------------


@pytest.mark.soak
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_to_torchrun_commits_and_ends_with_its_code(number: signal.Signals, code: int) -> None:
    command = torchrun("run_id=some", "params.step_seconds=0.1", "lightning.max_epochs=50")
    assert until(lambda: any(RUN.glob("checkpoints/steps/*.ckpt")))
    command.send_signal(number)
    said = said_by(command)
    run = json.loads((RUN / "run.json").read_text())
    assert run["status"] == "stopped", said
    assert number.name in run["message"]
    assert f"exitcode  : {code}" in said or "got signal" in said
    newest = max(int(path.stem[5:]) for path in RUN.glob("checkpoints/steps/*.ckpt"))
    assert newest == run["attempts"][-1]["last_step"]
    again = torchrun("run_id=some", "params.step_seconds=0.1", "lightning.max_epochs=10")
    said = said_by(again)
    assert again.returncode == 0, said
    assert json.loads((RUN / "run.json").read_text())["attempts"][1]["first_step"] == newest


@pytest.mark.soak
def test_time_for_all_starts_together_ends_all_ranks() -> None:
    settings = ["run_id=some", "params.step_seconds=0.1", "lightning.max_epochs=50"]
    said = said_by(torchrun(*settings, "callbacks.auto_retry.max_time=2"))
    run = json.loads((RUN / "run.json").read_text())
    assert run["status"] == "stopped", said
    assert "max_time of 2 s is over" in run["message"]
    assert 1 < run["attempts"][0]["end"] - run["attempts"][0]["start"] < 10
    # Nothing is left of it for another start.
    steps = run["attempts"][0]["last_step"]
    said_by(torchrun(*settings, "callbacks.auto_retry.max_time=2"))
    run = json.loads((RUN / "run.json").read_text())
    assert run["attempts"][1]["last_step"] <= steps + 1


@pytest.mark.soak
def test_a_finished_run_says_so_and_ends_well_on_all_ranks() -> None:
    for expected in ("finished ", "is finished already"):
        words = ["run_id=some", "lightning.max_epochs=1"]
        said = [command.end_with(0) for command in by_hand(words, words)]
        assert expected in said[0]
        assert said[1] == ""


@pytest.mark.soak
def test_a_rank_whose_first_rank_was_killed_ends_within_seconds_and_says_why() -> None:
    words = ["run_id=some", "params.step_seconds=0.1", "lightning.max_epochs=50"]
    first, second = by_hand(words, words)
    assert until(lambda: any(RUN.glob("checkpoints/steps/*.ckpt")))
    first.kill()
    done = second.end(15.0)
    assert done.returncode == 1
    assert "rank 1: rank 0 is gone" in done.stderr


@pytest.mark.soak
def test_an_error_on_one_rank_is_told_by_the_first() -> None:
    words = ["run_id=some", "lightning.max_epochs=4", *faults("raise@step=7,rank=1,error=ValueError")]
    said = [command.end_with(1) for command in by_hand(words, words)]
    assert "failed: rank 1 at step 7: ValueError" in said[0]
    run = json.loads((RUN / "run.json").read_text())
    assert (run["status"], run["attempts"][0]["cause"]) == ("failed", "deterministic")


@pytest.mark.soak
def test_a_sweep_under_torchrun_is_refused_with_the_command_to_type() -> None:
    command = torchrun("-m", "params.hidden=16,32")
    said = said_by(command)
    assert command.returncode == 1
    assert said.count("Leave torchrun out: python -m nimble_lightning -m") == 1, said


@pytest.mark.soak
def test_devices_that_torchrun_did_not_start_are_refused() -> None:
    command = torchrun("run_id=some", "lightning.devices=4")
    said = said_by(command)
    assert said.count("lightning.devices=4, but torchrun started 2 processes") == 1, said


@pytest.mark.soak
@pytest.mark.parametrize("mpirun", ["mpirun.openmpi", "mpirun.mpich"])
def test_ranks_of_mpirun_find_each_other(mpirun: str, capfd: pytest.CaptureFixture[str]) -> None:
    if shutil.which(mpirun) is None:
        pytest.skip(f"{mpirun} is not installed")
    options = ["--oversubscribe"] if mpirun.endswith("openmpi") else []
    root = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    settings = [*TINY, "lightning.max_epochs=2", "run_id=some"]
    command = start(mpirun, "-np", "2", *options, *OURS, *settings, **root)
    said = said_by(command)
    assert command.returncode == 0, said
    assert "rank 0 of 2, started by mpirun" in said
    assert said.count("\nfinished ") == 1
    assert main([*settings[:-1], "lightning.devices=2", "run_id=alone"]) == 0
    assert digests(RUN) == digests(Path("outputs/tiny/alone"))
    assert not list(Path(os.environ.get("TMPDIR", "/tmp")).glob(f"nimble-{os.getuid()}-*.port"))
