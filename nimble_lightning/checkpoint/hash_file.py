"""Writing a file and hashing it at the same time, in constant memory."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Any

from nimble_lightning.checkpoint.atomic_files import create, start_writing
from nimble_lightning.checkpoint.fault_points import reach
from nimble_lightning.checkpoint.manifest import FileRecord

_WRITE = 4 << 20
_READ = 1 << 20


class HashingFile:
    """A file to write to once, from front to back; a thread hashes what the operating system has taken.

    It reads the bytes back out of the page cache instead of sharing the caller's memory, which is only valid
    during ``write``: nothing is copied up front, and the hash is of what a reader of the file will get.

    An error of the disk is kept until ``check``: torch's writer is C++ and loses exceptions raised in it.
    """

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        self._fd = create(path)
        self._hash = hashlib.sha256()
        self._size = 0
        self._error: BaseException | None = None
        self._ends: SimpleQueue[int | None] = SimpleQueue()
        self._told = 0
        self._reader = Thread(target=self._read_behind, name="checkpoint-hash", daemon=True)
        self._reader.start()

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        if self._error is None:
            try:
                self._write_all(view)
            except BaseException as error:
                self._error = error
        return len(view)

    def flush(self) -> None:
        """Nothing is buffered."""

    def finish(self) -> FileRecord:
        """Wait until everything is on the disk and hashed."""
        self._ends.put(self._size)
        self._ends.put(None)
        self.check()
        reach("fsync")
        os.fsync(self._fd)
        self._reader.join()
        self.check()
        return FileRecord(self._size, self._hash.hexdigest())

    def close(self) -> None:
        self._ends.put(None)
        self._reader.join()
        os.close(self._fd)

    def check(self) -> None:
        """Raise the error that was kept, if there is one."""
        if self._error is not None:
            raise self._error

    def _write_all(self, view: memoryview) -> None:
        first = self._size == 0
        while view:
            written = os.write(self._fd, view[:_WRITE])
            view = view[written:]
            self._size += written
            if self._size - self._told >= _WRITE:
                self._ends.put(self._size)
                start_writing(self._fd, self._told, self._size - self._told)
                self._told = self._size
        if first:
            reach("half")

    def _read_behind(self) -> None:
        chunk = memoryview(bytearray(_READ))
        position = 0
        try:
            while (end := self._ends.get()) is not None:
                while position < end:
                    count = os.preadv(self._fd, [chunk[: end - position]], position)
                    if count == 0:
                        raise OSError(f"{self.name} became shorter while it was written")
                    self._hash.update(chunk[:count])
                    position += count
        except OSError as error:
            self._error = error


def write_hashed(path: Path, write: Callable[[HashingFile], None]) -> FileRecord:
    """Let ``write`` fill a new file at ``path``; returns when it is on the disk."""
    reach("open")
    file = HashingFile(path)
    try:
        write(file)
        return file.finish()
    finally:
        file.close()


def hash_plain(fd: int) -> str:
    """The sha256 of an open file, from its beginning."""
    digest = hashlib.sha256()
    chunk = memoryview(bytearray(_READ))
    position = 0
    while count := os.preadv(fd, [chunk], position):
        digest.update(chunk[:count])
        position += count
    return digest.hexdigest()
