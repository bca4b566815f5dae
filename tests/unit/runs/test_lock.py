"""One process at a time in a run folder."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from pathlib import Path

import pytest

from nimble_lightning.errors import RequestError
from nimble_lightning.runs.lock import RunLock


def held_by_a_child(path: Path) -> int:
    """A process that holds the lock until it is killed."""
    ready, told = os.pipe()
    if (pid := os.fork()) == 0:
        with RunLock(path):
            os.write(told, b"x")
            signal.pause()
    os.read(ready, 1)
    os.close(ready)
    os.close(told)
    return pid


def held_by_a_child_with_children(folder: Path) -> int:
    """A process that holds the lock, and a fork of it that outlives it by a moment."""
    ready, told = os.pipe()
    if (pid := os.fork()) == 0:
        with RunLock(folder / "run.lock"):
            if os.fork() == 0:
                time.sleep(0.5)
                (folder / "ended").touch()
                os._exit(0)
            os.write(told, b"x")
            signal.pause()
    os.read(ready, 1)
    os.close(ready)
    os.close(told)
    return pid


def test_a_second_start_is_refused_and_told_by_whom(tmp_path: Path) -> None:
    pid = held_by_a_child(tmp_path / "run.lock")
    try:
        with (
            pytest.raises(RequestError, match=f"process {pid} on {socket.gethostname()}.*run_id=NAME"),
            RunLock(tmp_path / "run.lock"),
        ):
            pass
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def test_the_lock_of_a_killed_process_is_broken(tmp_path: Path) -> None:
    pid = held_by_a_child(tmp_path / "run.lock")
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    assert json.loads((tmp_path / "run.lock").read_text())["pid"] == pid
    with RunLock(tmp_path / "run.lock"):
        assert json.loads((tmp_path / "run.lock").read_text())["pid"] == os.getpid()


def test_what_the_killed_process_had_forked_is_waited_for(tmp_path: Path) -> None:
    pid = held_by_a_child_with_children(tmp_path)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    with RunLock(tmp_path / "run.lock"):
        assert (tmp_path / "ended").exists()


def test_a_lock_can_be_taken_again_when_it_was_given_back(tmp_path: Path) -> None:
    for _ in range(2):
        with RunLock(tmp_path / "run.lock"):
            pass


def test_the_lock_of_another_machine_is_not_broken(tmp_path: Path) -> None:
    (tmp_path / "run.lock").write_text(json.dumps({"pid": 1, "host": "elsewhere", "boot": "x"}))
    with pytest.raises(RequestError, match="elsewhere.*delete"), RunLock(tmp_path / "run.lock"):
        pass


def test_an_unreadable_lock_is_nobodys(tmp_path: Path) -> None:
    (tmp_path / "run.lock").write_text("half a li")
    with RunLock(tmp_path / "run.lock"):
        pass
