"""What goes wrong in a worker is told from outside, named, and survived where that makes sense."""

from __future__ import annotations

import os
import random
import shutil
import signal
import threading
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import pytest
from faulty_trainer import beats, train, when

from nimble_lightning.runs.heartbeat import Beat, Phase
from nimble_lightning.runs.result import Result

STEPS = {1: 26, 2: 14}


def causes(result: Result) -> list[str]:
    return [attempt["cause"] for attempt in result.attempts]


def seconds(result: Result, attempt: int = 0) -> float:
    return float(result.attempts[attempt]["end"] - result.attempts[attempt]["start"])


def left(result: Result) -> list[str]:
    return sorted(path.name for path in result.folder.iterdir() if path.name.startswith("."))


@pytest.mark.parametrize(
    ("fault", "cause", "said", "ranks"),
    [
        ("kill", "killed", "killed by SIGKILL", 1),
        ("crash", "killed", "crashed with SIGSEGV", 1),
        ("boom", "transient", "RuntimeError: boom", 1),
        ("kill", "killed", "killed by SIGKILL", 2),
        pytest.param("crash", "killed", "crashed with SIGSEGV", 2, marks=pytest.mark.slow),
        pytest.param("boom", "transient", "RuntimeError: boom", 2, marks=pytest.mark.slow),
    ],
)
def test_a_rank_that_fails_once_is_named_and_the_run_finishes(
    fault: str, cause: str, said: str, ranks: int
) -> None:
    result = train(fault=fault, at=9, rank=ranks - 1, ranks=ranks)
    assert result.status == "finished"
    assert causes(result) == [cause, "finished"]
    first = result.attempts[0]
    assert (first["rank"], first["last_step"]) == (ranks - 1, 8)
    # A killed rank cannot say by what, and torchelastic tells of one rank only.
    assert said in first["reason"] or (ranks == 2 and first["reason"] == "killed by a signal")
    assert seconds(result) <= 10
    assert result.global_step == STEPS[ranks]
    assert not [name for name in left(result) if "heartbeat" in name]


def test_a_trainer_that_leaves_without_python_is_not_done_and_not_waited_for() -> None:
    result = train(fault="leave", at=9, attempts=99)
    assert result.status == "failed"
    assert "rank 0 at step 8: the program left by itself with code 0" in result.message
    assert len(result.attempts) == 1


@pytest.mark.parametrize("ranks", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_killed_server_of_workers_is_nothing_a_run_did(ranks: int) -> None:
    def kill(found: list[Beat]) -> None:
        os.kill(forkserver._forkserver._forkserver_pid, signal.SIGKILL)  # type: ignore[attr-defined]

    thread = when(lambda beat: beat.phase == Phase.TRAINING and beat.step >= 7, kill, ranks)
    result = train(ranks=ranks, pause=0.05, retry={"max_retries": 0})
    thread.join()
    assert result.status == "finished"
    assert causes(result) == ["killed", "finished"]
    assert "the server that workers are forked from was killed" in result.attempts[0]["reason"]
    assert result.attempts[1]["first_step"] >= 5


def test_a_folder_that_is_moved_away_ends_its_run_in_words_and_the_run_goes_on_when_it_is_back() -> None:
    folder = Path("outputs/faulty/some")
    thread = when(lambda beat: beat.step >= 7, lambda found: folder.rename("moved"))
    first = train(pause=0.1)
    assert first.status == "failed"
    assert "was moved or deleted while its run went on" in first.message
    thread.join()
    # What a worker was about to write when it was ended.
    shutil.rmtree(folder, ignore_errors=True)
    Path("moved").rename(folder)
    result = train(pause=0.1)
    assert result.status == "finished"
    assert result.attempts[1]["first_step"] >= 5


@pytest.mark.parametrize("ranks", [1, 2])
def test_a_trainer_that_quits_as_if_all_was_well_is_not_done(ranks: int) -> None:
    result = train(fault="quit", at=9, rank=ranks - 1, ranks=ranks, retry={"max_retries": 0})
    assert result.status == "failed"
    assert "the program left by itself with code 0" in result.message
    assert seconds(result) <= 10


@pytest.mark.parametrize("fault", ["stop", "deadlock", pytest.param("busy", marks=pytest.mark.slow)])
def test_a_hang_is_found_explained_and_survived(fault: str) -> None:
    result = train(fault=fault, at=9, retry={"hang_seconds": 1.5})
    assert causes(result) == ["hang", "finished"]
    first = result.attempts[0]
    assert first["last_step"] == 8
    assert ("SIGSTOP" if fault == "stop" else "faulty_trainer.py") in first["reason"]
    stacks = list((result.folder / "errors").glob("*.stacks.txt"))
    assert bool(stacks) == (fault != "stop")
    silent = float(first["reason"].split("no step for ")[1].split(" s")[0])
    assert silent <= 1.5 + 2


@pytest.mark.parametrize("fault", [pytest.param("stop", marks=pytest.mark.slow), "deadlock"])
def test_the_rank_that_hangs_is_told_from_the_one_that_waits_for_it(fault: str) -> None:
    # Long enough for a busy machine: ranks that are only slow wait for each other as well.
    result = train(fault=fault, at=5, rank=1, ranks=2, retry={"hang_seconds": 5})
    assert causes(result) == ["hang", "finished"]
    assert result.attempts[0]["rank"] == 1


def test_an_error_that_comes_again_at_the_same_step_ends_the_run_after_two_attempts() -> None:
    result = train(fault="boom", at=3, attempts=99, retry={"save_every_n_steps": None})
    assert (result.status, result.exit_code) == ("failed", 1)
    assert causes(result) == ["transient", "deterministic"]
    assert "rank 0 at step 2: RuntimeError: boom" in result.message
    assert "same step" in result.message


@pytest.mark.parametrize(("fault", "cause"), [("value", "deterministic"), ("nan", "nan")])
def test_what_would_end_the_same_is_not_tried_again(fault: str, cause: str) -> None:
    result = train(fault=fault, at=3, attempts=99)
    assert (result.status, result.exit_code) == ("failed", 1)
    assert causes(result) == [cause]


def test_a_surviving_rank_does_not_bury_the_error(capfd: pytest.CaptureFixture[str]) -> None:
    result = train(fault="value", at=3, rank=1, ranks=2)
    assert "rank 1 at step 2: ValueError: no such thing" in result.message
    assert seconds(result) <= 10
    said = capfd.readouterr()
    assert "Traceback" not in said.out + said.err, "rank 1 speaks in its own log, rank 0 has nothing to add"


def test_without_the_callback_a_failure_is_the_end() -> None:
    result = train(fault="kill", at=3, retry={"max_retries": 0})
    assert (result.status, result.exit_code) == ("failed", 1)
    assert "killed by SIGKILL" in result.message


@pytest.mark.slow
def test_the_same_trainer_ends_alike_however_often_it_is_killed() -> None:
    calm = train("calm")
    killed, deaths = under_fire("some", kills=4)
    assert deaths == 4
    assert causes(killed).count("killed") == 4
    assert killed.metrics["val_loss"] == calm.metrics["val_loss"]
    assert killed.metrics["train_loss"] == calm.metrics["train_loss"]


def under_fire(run_id: str, kills: int, **options: Any) -> tuple[Result, int]:
    """Train while a worker is killed again and again, a few steps after it has begun."""
    done, chance, deaths = threading.Event(), random.Random(3), [0]

    def fire() -> None:
        last = 0
        while deaths[0] < kills and not done.wait(chance.uniform(0.02, 0.1)):
            ready = [b for b in beats(run_id) if b.phase == Phase.TRAINING and b.pid != last and b.step >= 3]
            if ready:
                last = chance.choice(ready).pid
                os.kill(last, signal.SIGKILL)
                deaths[0] += 1

    thread = threading.Thread(target=fire, daemon=True)
    thread.start()
    result = train(run_id, retry={"max_retries": 1000, "save_every_n_steps": 2}, **options)
    done.set()
    thread.join()
    return result, deaths[0]


def test_stacks_of_runs_that_did_not_hang_are_not_left_behind() -> None:
    result = train(fault="boom", at=3)
    assert not list(Path(result.folder / "errors").glob("*.stacks.txt"))


@pytest.mark.soak
@pytest.mark.parametrize("fault", ["kill", "boom", "crash"])
@pytest.mark.parametrize("rank", [0, 1])
def test_one_of_two_ranks_fails_twenty_times_of_twenty(fault: str, rank: int, tmp_path: Path) -> None:
    for turn in range(20):
        folder = tmp_path / str(turn)
        folder.mkdir()
        os.chdir(folder)
        at = 2 + turn % 10
        result = train(fault=fault, at=at, rank=rank, ranks=2, pause=0.005)
        first = result.attempts[0]
        assert result.status == "finished"
        assert (first["rank"], first["last_step"]) == (rank, at - 1)
        assert seconds(result) <= 10


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("ranks", [1, 2])
def test_a_storm_of_kills_changes_no_bit(ranks: int) -> None:
    calm = train("calm", ranks=ranks, pause=0.1)
    deaths = 0
    for turn in range(100 // ranks):
        killed, more = under_fire(f"storm-{turn}", kills=6, ranks=ranks, pause=0.1)
        deaths += more
        assert killed.metrics["val_loss"] == calm.metrics["val_loss"]
        assert killed.metrics["train_loss"] == calm.metrics["train_loss"]
    assert deaths >= 500 // ranks
