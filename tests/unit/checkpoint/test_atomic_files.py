"""Names change at once; what was behind them is freed in its own time."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from nimble_lightning.checkpoint import atomic_files


def freeing() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "checkpoint-free"]


def held_open(path: Path) -> list[str]:
    links = [Path("/proc/self/fd", name) for name in os.listdir("/proc/self/fd")]
    return [target for link in links if link.is_symlink() and str(path) in (target := os.readlink(link))]


@pytest.fixture
def slow_close(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Closing waits until the function that is returned is called."""
    real, go_on = os.close, threading.Event()

    def close(fd: int) -> None:
        if threading.current_thread().name == "checkpoint-free":
            go_on.wait(10)
        real(fd)

    def finish() -> None:
        go_on.set()
        for thread in freeing():
            thread.join()

    monkeypatch.setattr(os, "close", close)
    return finish


@pytest.mark.parametrize(
    "act", [atomic_files.remove, lambda path: atomic_files.replace(path.with_name("new"), path)]
)
def test_nobody_waits_for_the_old_content_to_be_freed(
    tmp_path: Path, slow_close: Callable[[], None], act: Callable[[Path], None]
) -> None:
    path, new = tmp_path / "old", tmp_path / "new"
    path.write_bytes(b"old")
    new.write_bytes(b"new")
    act(path)
    assert not path.exists() or path.read_bytes() == b"new"
    assert held_open(path) == [f"{path} (deleted)"]
    slow_close()
    assert held_open(path) == []


def test_what_is_not_there_is_no_error(tmp_path: Path) -> None:
    atomic_files.remove(tmp_path / "nothing")
    (tmp_path / "new").write_bytes(b"new")
    atomic_files.replace(tmp_path / "new", tmp_path / "nothing")
    assert (tmp_path / "nothing").read_bytes() == b"new"
    assert freeing() == []


def test_a_rename_that_fails_leaves_nothing_open(tmp_path: Path) -> None:
    (tmp_path / "old").write_bytes(b"old")
    with pytest.raises(FileNotFoundError):
        atomic_files.replace(tmp_path / "new", tmp_path / "old")
    for thread in freeing():
        thread.join()
    assert held_open(tmp_path) == []
    assert (tmp_path / "old").read_bytes() == b"old"


def test_a_disk_that_cannot_begin_early_is_no_reason_to_fail(tmp_path: Path) -> None:
    read_end, write_end = os.pipe()
    atomic_files.start_writing(write_end, 0, 1)
    for fd in (read_end, write_end):
        os.close(fd)
    with open(tmp_path / "plain", "wb") as file:
        file.write(b"content")
        file.flush()
        atomic_files.start_writing(file.fileno(), 0, 7)
        os.fsync(file.fileno())
