"""The digest of a file comes out of writing it."""

from __future__ import annotations

import errno
import hashlib
import os
import random
import threading
from pathlib import Path

import pytest

from nimble_lightning.checkpoint.hash_file import HashingFile, write_hashed


@pytest.mark.parametrize("size", [0, 1, (1 << 20) - 1, (9 << 20) + 3])
def test_the_digest_is_that_of_the_bytes_written(tmp_path: Path, size: int) -> None:
    data = random.Random(0).randbytes(size)

    def write(file: HashingFile) -> None:
        for start in range(0, size, 700_001):
            file.write(memoryview(data)[start : start + 700_001])

    record = write_hashed(tmp_path / "a", write)
    assert (tmp_path / "a").read_bytes() == data
    assert (record.size, record.sha256) == (size, hashlib.sha256(data).hexdigest())


def test_an_error_of_the_disk_is_kept_and_raised_outside_of_the_writer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.write
    calls: list[int] = []

    def full(fd: int, data: bytes) -> int:
        calls.append(fd)
        if len(calls) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(fd, data)

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="No space"):
        write_hashed(tmp_path / "a", lambda file: [file.write(b"x") for _ in range(5)] and None)
    assert len(calls) == 2


def test_a_write_the_system_cuts_short_is_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: real(fd, data[:3]))
    write_hashed(tmp_path / "a", lambda file: file.write(b"0123456789") and None)
    assert (tmp_path / "a").read_bytes() == b"0123456789"


def test_nothing_stays_open_or_running_after_a_failure(tmp_path: Path) -> None:
    open_files = len(os.listdir("/proc/self/fd"))

    def write(file: HashingFile) -> None:
        file.write(b"x")
        raise KeyError("the state cannot be pickled")

    with pytest.raises(KeyError):
        write_hashed(tmp_path / "a", write)
    assert len(os.listdir("/proc/self/fd")) == open_files
    assert not [thread for thread in threading.enumerate() if thread.name == "checkpoint-hash"]
