"""A run that is told to end commits what it has and ends in time, whenever and however it is told."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from faulty_trainer import beats, train, when

from nimble_lightning.checkpoint import newest_whole
from nimble_lightning.errors import RequestError
from nimble_lightning.runs.heartbeat import Beat, Phase
from nimble_lightning.runs.process_tree import alive
from nimble_lightning.runs.result import Result

MOMENTS = {
    "training": lambda beat: beat.phase == Phase.TRAINING and beat.step >= 7,
    "validation": lambda beat: beat.phase == Phase.VALIDATING,
    "saving": lambda beat: beat.phase == Phase.SAVING,
    "loading": lambda beat: beat.phase == Phase.STARTING,
}
CODES = {signal.SIGTERM: 143, signal.SIGINT: 130}


def committed(folder: Path) -> int:
    found = newest_whole(folder / "checkpoints" / "steps")
    return 0 if found is None else found.manifest.step


def stop_at(
    moment: str, number: signal.Signals, ranks: int = 1, times: int = 1
) -> tuple[Result, list[Beat], float]:
    """Run until a moment, then signal this process, which supervises.

    Returns how the run ended, where it was, and how long it took from there.
    """
    seen: list[Beat] = []
    told: list[float] = []

    def tell(found: list[Beat]) -> None:
        seen.extend(found)
        told.append(time.monotonic())
        for again in range(times):
            time.sleep(0.02 * again)
            os.kill(os.getpid(), number)

    thread = when(MOMENTS[moment], tell, ranks)
    result = train(ranks=ranks, load=2.0 if moment == "loading" else 0.0)
    took = time.monotonic() - told[0]
    thread.join()
    return result, seen, took


def check_stopped(result: Result, seen: list[Beat], took: float, number: signal.Signals) -> None:
    assert result.status == "stopped"
    assert result.exit_code == CODES[number]
    assert number.name in result.message
    assert took <= 10
    assert committed(result.folder) >= max(beat.step for beat in seen)
    assert [attempt["cause"] for attempt in result.attempts] == ["stopped"]


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("ranks", [1, 2])
def test_sigterm_commits_and_ends_with_143(moment: str, ranks: int) -> None:
    result, seen, took = stop_at(moment, signal.SIGTERM, ranks)
    check_stopped(result, seen, took, signal.SIGTERM)


def test_one_ctrl_c_commits_and_ends_with_130() -> None:
    result, seen, took = stop_at("training", signal.SIGINT)
    check_stopped(result, seen, took, signal.SIGINT)


def test_the_end_of_the_terminal_commits_as_well() -> None:
    # Under nohup it would not.
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    result, seen, took = stop_at("training", signal.SIGHUP)
    signal.signal(signal.SIGHUP, before)
    assert (result.status, result.exit_code) == ("stopped", 143)
    assert result.message.startswith("stopped by SIGHUP (its terminal was closed)")
    assert committed(result.folder) >= max(beat.step for beat in seen)
    assert took <= 10


def test_two_end_the_run_at_once() -> None:
    result, seen, took = stop_at("loading", signal.SIGINT, times=2)
    check_stopped(result, seen, took, signal.SIGINT)
    assert took < 2, "loading takes longer than that"


@pytest.mark.parametrize("ranks", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_worker_that_alone_is_told_commits_with_the_others_and_goes_on(ranks: int) -> None:
    thread = when(MOMENTS["training"], lambda found: os.kill(found[-1].pid, signal.SIGTERM), ranks)
    result = train(ranks=ranks, pause=0.15)
    thread.join()
    assert result.status == "finished"
    assert [attempt["cause"] for attempt in result.attempts] == ["preempted", "finished"]
    assert result.attempts[1]["first_step"] == result.attempts[0]["last_step"] >= 7


def test_a_run_whose_time_is_over_commits_and_the_same_command_continues() -> None:
    first = train(retry={"max_time_per_run": 2.0}, pause=0.15)
    assert (first.status, first.exit_code) == ("stopped", 143)
    assert "max_time_per_run" in first.message
    Path("hurry").touch()
    second = train(pause=0.15, retry={"max_time": first.seconds + 600})
    assert second.status == "finished"
    assert second.attempts[1]["first_step"] == committed_step(first) > 0


def test_the_time_of_all_starts_together_is_counted() -> None:
    first = train(retry={"max_time_per_run": 2.0}, pause=0.15)
    second = train(retry={"max_time": 0.5}, pause=0.15)
    assert second.status == "stopped"
    assert "max_time" in second.message
    assert len(second.attempts) == len(first.attempts), "no time was left to start once more"


def committed_step(result: Result) -> int:
    return int(result.attempts[-1]["last_step"])


COMMAND = "from faulty_trainer import train; import sys; sys.exit(train({arguments}).exit_code)"


def start(arguments: str) -> subprocess.Popen[str]:
    """The same in a process of its own, with a process group of its own."""
    return subprocess.Popen(
        [sys.executable, "-c", COMMAND.format(arguments=arguments)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1] / "helpers")},
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_sigterm_to_the_whole_group_commits_and_ends_with_143() -> None:
    command = start("ranks=2, pause=0.05")
    thread = when(MOMENTS["training"], lambda found: os.killpg(command.pid, signal.SIGTERM), ranks=2)
    said, _ = command.communicate(timeout=60)
    thread.join()
    assert command.returncode == 143, said
    assert committed(Path("outputs/faulty/some")) >= 7


def test_workers_die_with_a_killed_supervisor_and_a_new_one_continues() -> None:
    command = start("ranks=2, pause=0.05")
    workers: list[Beat] = []
    thread = when(MOMENTS["training"], workers.extend, ranks=2)
    thread.join()
    with pytest.raises(RequestError, match=f"already going on .process {command.pid} "):
        train()
    command.kill()
    until = time.monotonic() + 2
    while time.monotonic() < until and any(alive(worker.pid) for worker in workers):
        time.sleep(0.02)
    assert not any(alive(worker.pid) for worker in workers)
    command.communicate(timeout=10)
    Path("hurry").touch()
    result = train(ranks=2, pause=0.05)
    assert result.status == "finished"
    assert result.attempts[-1]["first_step"] >= 5


@pytest.mark.soak
@pytest.mark.parametrize("ranks", [1, 2])
@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("number", CODES, ids=lambda number: number.name)
def test_twenty_of_twenty(ranks: int, moment: str, number: signal.Signals, tmp_path: Path) -> None:
    for turn in range(20):
        folder = tmp_path / str(turn)
        folder.mkdir()
        os.chdir(folder)
        assert not beats()
        result, seen, took = stop_at(moment, number, ranks)
        check_stopped(result, seen, took, number)


@pytest.mark.soak
@pytest.mark.parametrize("ranks", [1, 2])
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_single_worker_that_is_told_twenty_times_of_twenty(ranks: int, moment: str, tmp_path: Path) -> None:
    for turn in range(20):
        folder = tmp_path / str(turn)
        folder.mkdir()
        os.chdir(folder)
        seen: list[Beat] = []

        def tell(found: list[Beat], seen: list[Beat] = seen) -> None:
            seen.extend(found)
            os.kill(found[-1].pid, signal.SIGTERM)

        thread = when(MOMENTS[moment], tell, ranks)
        result = train(ranks=ranks, load=0.5 if moment == "loading" else 0.0)
        thread.join()
        assert [attempt["cause"] for attempt in result.attempts] == ["preempted", "finished"]
        assert result.attempts[1]["first_step"] >= max(beat.step for beat in seen)


@pytest.mark.soak
@pytest.mark.timeout(900)
@pytest.mark.parametrize("ranks", [1, 2])
@pytest.mark.parametrize("moment", MOMENTS)
def test_the_whole_group_twenty_times_of_twenty(ranks: int, moment: str, tmp_path: Path) -> None:
    for turn in range(20):
        folder = tmp_path / str(turn)
        folder.mkdir()
        os.chdir(folder)
        command, told = start(f"ranks={ranks}, load={2.0 if moment == 'loading' else 0.0}"), [0.0]

        def tell(
            found: list[Beat], command: subprocess.Popen[str] = command, told: list[float] = told
        ) -> None:
            told.append(time.monotonic())
            os.killpg(command.pid, signal.SIGTERM)

        thread = when(MOMENTS[moment], tell, ranks)
        said, _ = command.communicate(timeout=60)
        assert time.monotonic() - told[-1] <= 10
        thread.join()
        assert command.returncode == 143, said
