"""A sweep uses the room there is, starts again what was killed, and stops when it is asked to."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from nimble_lightning.errors import RequestError
from nimble_lightning.runs import slot
from nimble_lightning.settings import Local, RunSettings
from nimble_lightning.sweeps.member_process import DeviceShare
from nimble_lightning.sweeps.scheduler import MOST_STARTS, Sweep, SweepJob, room

ONE = DeviceShare(None, 1)


class Notes:
    """Remembers what it was told, and does something at the first start."""

    def __init__(self, at_first: Callable[[], None] = lambda: None) -> None:
        self.starts: list[int] = []
        self.ends: list[tuple[int, Any]] = []
        self.told_of_the_end = 0
        self._at_first = at_first

    def started(self, job: SweepJob) -> None:
        self.starts.append(job.number)
        if len(self.starts) == 1:
            self._at_first()

    def ended(self, job: SweepJob, answer: Any) -> None:
        self.ends.append((job.number, answer))

    def look(self, steps: Any) -> None:
        pass

    def winding_down(self) -> None:
        self.told_of_the_end += 1


def sweep(
    folder: Path, work: dict[int, Callable[[], Any]], at_once: int, notes: Notes, ahead: int = 0
) -> tuple[Sweep, dict]:
    running = Sweep(folder, [ONE] * at_once, notes, ahead)
    jobs = [SweepJob(number, folder / str(number), partial(seated, task)) for number, task in work.items()]
    return running, running.run(iter(jobs))


def seated(work: Callable[[], Any]) -> Any:
    slot.take()
    return work()


def test_every_member_answers_once(tmp_path: Path) -> None:
    notes = Notes()
    _, answers = sweep(tmp_path, {n: partial(int, n * n) for n in range(5)}, 2, notes)
    assert answers == {n: n * n for n in range(5)}
    assert sorted(notes.starts) == list(range(5))


@pytest.mark.parametrize("ahead", [0, 2])
def test_no_more_run_at_once_than_there_is_room_for(tmp_path: Path, ahead: int) -> None:
    def work(number: int) -> int:
        (tmp_path / f"runs-{number}").touch()
        beside, until = 1, time.monotonic() + 2
        while beside < 2 and time.monotonic() < until:
            time.sleep(0.02)
            beside = len(list(tmp_path.glob("runs-*")))
        time.sleep(0.1)
        beside = max(beside, len(list(tmp_path.glob("runs-*"))))
        (tmp_path / f"runs-{number}").unlink()
        return beside

    _, answers = sweep(tmp_path, {n: partial(work, n) for n in range(6)}, 2, Notes(), ahead)
    assert max(answers.values()) == 2


def test_one_that_has_left_its_seat_keeps_nobody_waiting(tmp_path: Path) -> None:
    """The first ends only when the second has been there, for which there is one slot."""

    def first() -> bool:
        slot.leave()
        until = time.monotonic() + 10
        while not (seen := (tmp_path / "second").exists()) and time.monotonic() < until:
            time.sleep(0.01)
        return seen

    _, answers = sweep(tmp_path, {0: first, 1: (tmp_path / "second").touch}, 1, Notes())
    assert answers == {0: True, 1: None}


def test_those_that_may_get_ready_are_there_before_there_is_room(tmp_path: Path) -> None:
    """The first ends only when two others got ready, and not a third."""

    def ready(number: int) -> int:
        (tmp_path / f"ready-{number}").touch()
        slot.take()
        if number == 0:
            until = time.monotonic() + 10
            while len(list(tmp_path.glob("ready-*"))) < 3 and time.monotonic() < until:
                time.sleep(0.01)
            time.sleep(0.2)
        return len(list(tmp_path.glob("ready-*")))

    jobs = [SweepJob(number, tmp_path / str(number), partial(ready, number)) for number in range(5)]
    answers = Sweep(tmp_path, [ONE], Notes(), 2).run(iter(jobs))
    assert answers[0] == 3
    assert sorted(answers) == list(range(5))


def test_a_member_that_was_killed_is_started_again(tmp_path: Path) -> None:
    def dies_once() -> str:
        if not (tmp_path / "died").exists():
            (tmp_path / "died").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return "done"

    notes = Notes()
    _, answers = sweep(tmp_path, {0: dies_once, 1: partial(str, "other")}, 2, notes)
    assert answers == {0: "done", 1: "other"}
    assert sorted(notes.starts) == [0, 0, 1]


def test_one_that_failed_by_itself_is_not_started_again(tmp_path: Path) -> None:
    notes = Notes()
    _, answers = sweep(tmp_path, {0: lambda: 1 // 0}, 1, notes)
    assert answers == {0: None}
    assert notes.starts == [0]


def test_one_that_is_killed_every_time_is_given_up(tmp_path: Path) -> None:
    notes = Notes()
    _, answers = sweep(tmp_path, {0: lambda: os.kill(os.getpid(), signal.SIGKILL)}, 1, notes)
    assert answers == {0: None}
    assert notes.starts == [0] * MOST_STARTS


@pytest.mark.parametrize("ahead", [0, 2])
def test_ctrl_c_once_lets_come_to_an_end_what_runs(tmp_path: Path, ahead: int) -> None:
    notes = Notes(at_first=partial(os.kill, os.getpid(), signal.SIGINT))
    running, answers = sweep(tmp_path, {n: partial(time.sleep, 0.2) for n in range(4)}, 1, notes, ahead)
    assert notes.starts == [0]
    assert list(answers) == [0]
    assert running.exit_code == 130
    assert notes.told_of_the_end == 1


@pytest.mark.parametrize(("signals", "code"), [([signal.SIGINT] * 2, 130), ([signal.SIGTERM], 143)])
def test_twice_or_by_sigterm_it_stops_what_runs(
    tmp_path: Path, signals: list[signal.Signals], code: int
) -> None:
    def ask() -> None:
        for number in signals:
            os.kill(os.getpid(), number)

    before = time.monotonic()
    running, answers = sweep(tmp_path, {n: partial(time.sleep, 60) for n in range(2)}, 1, Notes(ask), 1)
    assert list(answers) == [0]
    assert running.exit_code == code
    assert time.monotonic() - before < 30


def test_the_handlers_are_those_from_before(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGINT)
    sweep(tmp_path, {0: partial(int, 1)}, 1, Notes())
    assert signal.getsignal(signal.SIGINT) is before


def test_jobs_says_how_many_run_at_once() -> None:
    asked = RunSettings(launch=Local(jobs=3), lightning={"accelerator": "cpu"})
    assert len(room(asked, 10)) == 3
    assert len(room(asked, 2)) == 2


def test_by_itself_it_takes_as_many_as_there_are_cores_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nimble_lightning.sweeps.scheduler.cores", lambda: 8)
    assert len(room(RunSettings(lightning={"accelerator": "cpu", "devices": "auto"}), 100)) == 8
    assert len(room(RunSettings(lightning={"accelerator": "cpu", "devices": 2}), 100)) == 4
    assert len(room(RunSettings(lightning={"accelerator": "cpu", "devices": 16}), 100)) == 1


def test_four_gpus_are_two_members_of_two_by_their_own_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nimble_lightning.runs.device_count._gpus", lambda: 4)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-a,GPU-b,GPU-c,GPU-d")
    found = room(RunSettings(lightning={"devices": 2}), 10)
    assert [share.devices for share in found] == [("GPU-a", "GPU-b"), ("GPU-c", "GPU-d")]


def test_a_number_of_jobs_that_is_none_is_refused() -> None:
    with pytest.raises(RequestError, match="launch.jobs=0"):
        room(RunSettings(launch=Local(jobs=0)), 1)
