"""The few file operations on which a whole-or-absent write rests."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from threading import Thread
from typing import Any

_SYNC_FILE_RANGE_WRITE = 2


def create(path: Path) -> int:
    """Open a new file for reading and writing; nothing that is already there is followed or reused."""
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    return os.open(path, flags, 0o600)


def write_new(path: Path, data: bytes) -> None:
    """Write a small file that has to be on the disk before anything else happens."""
    with os.fdopen(create(path), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def flush(path: Path) -> None:
    """Make the content of a file, or the names in a folder, survive a power cut."""
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def start_writing(fd: int, start: int, length: int) -> None:
    """Let the disk begin with a part of a file, so that less is left for fsync, which tells of errors."""
    if (begin := _sync_file_range()) is not None:
        begin(fd, start, length, _SYNC_FILE_RANGE_WRITE)


def remove(path: Path) -> None:
    """Take away the name of a file now and its content behind our back; none is no error."""
    with _freed_later(path):
        path.unlink(missing_ok=True)


def replace(new: Path, old: Path) -> None:
    """Give one file the name of another, if there is one, whose content goes behind our back."""
    with _freed_later(old):
        os.replace(new, old)


@contextmanager
def _freed_later(path: Path) -> Iterator[None]:
    """Freeing a large file takes a third of the time of writing it; whoever closes it last does that."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        yield
        return
    closing = Thread(target=os.close, args=(fd,), name="checkpoint-free", daemon=True)
    try:
        yield
    finally:
        closing.start()


@cache
def _sync_file_range() -> Any:
    """Linux alone has it, and Python does not know it."""
    function = getattr(ctypes.CDLL(None), "sync_file_range", None)
    if function is not None:
        function.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)
    return function
