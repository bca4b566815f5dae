"""A worker ends with its supervisor, and with it all that it started."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from nimble_lightning.runs.process_tree import alive, die_with, under_parent


def test_a_process_is_alive_until_it_has_ended() -> None:
    if (pid := os.fork()) == 0:
        signal.pause()
    assert alive(pid)
    os.kill(pid, signal.SIGKILL)
    until = time.monotonic() + 5
    while alive(pid) and time.monotonic() < until:
        time.sleep(0.01)
    assert not alive(pid), "it is a zombie, and that is not alive"
    os.waitpid(pid, 0)
    assert not alive(pid)


def under(work: Callable[[], None], supervisor: int) -> int:
    """How a process ends that does this under a parent of its own, which runs in a fork of this one."""
    if (pid := os.fork()) == 0:
        code = 70
        try:
            code = abs(under_parent(work, supervisor))
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def starts_more(file: Path, then: Callable[[], object]) -> Callable[[], None]:
    def work() -> None:
        own = subprocess.Popen(["sleep", "600"], start_new_session=True)
        nobodys = subprocess.check_output("sleep 600 > /dev/null 2>&1 & echo $!", shell=True, text=True)
        stubborn = os.fork()
        if stubborn == 0:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            signal.pause()
        file.write_text(f"{own.pid} {nobodys} {stubborn}")
        then()

    return work


@pytest.mark.parametrize(
    ("then", "code"),
    [
        (lambda: None, 0),
        (lambda: os._exit(7), 7),
        (lambda: os.kill(os.getpid(), signal.SIGKILL), 9),
        # Whoever is told is not the one that is meant.
        (lambda: [os.kill(os.getppid(), signal.SIGTERM), signal.pause()], 15),
    ],
    ids=["returns", "leaves", "killed", "told"],
)
def test_what_a_worker_started_ends_with_it(tmp_path: Path, then: Callable[[], object], code: int) -> None:
    assert under(starts_more(tmp_path / "pids", then), os.getpid()) == code
    left = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
    assert len(left) == 3
    assert [pid for pid in left if alive(pid)] == []


def test_a_worker_and_what_it_started_end_with_the_supervisor(tmp_path: Path) -> None:
    supervisor = subprocess.Popen(["sleep", "600"])

    def then() -> None:
        os.kill(supervisor.pid, signal.SIGKILL)
        time.sleep(600)

    assert under(starts_more(tmp_path / "pids", then), supervisor.pid) == 9
    assert [pid for pid in map(int, (tmp_path / "pids").read_text().split()) if alive(pid)] == []
    supervisor.wait()


@pytest.mark.parametrize("told", [True, False], ids=["it is told to", "its supervisor has ended"])
def test_what_waits_for_others_afterwards_ends_when(told: bool) -> None:
    supervisor, (ready, say) = subprocess.Popen(["sleep", "600"]), os.pipe()
    if (pid := os.fork()) == 0:
        under_parent(lambda: None, supervisor.pid)
        die_with(supervisor.pid)
        os.write(say, b".")
        threading.Event().wait()
    assert os.read(ready, 1)
    (os.kill(pid, signal.SIGTERM) if told else supervisor.kill())
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == (-signal.SIGTERM if told else 1)
    supervisor.kill()
    supervisor.wait()
