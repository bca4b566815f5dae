"""One process at a time per run folder."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from nimble_lightning.errors import RequestError
from nimble_lightning.ops import plain_files
from nimble_lightning.runs.cluster import schedulers
from nimble_lightning.runs.process_tree import alive

# As long as a run that was told to stop may take to commit.
_ORPHAN_SECONDS = 20.0
_LOOK_SECONDS = 0.05


class RunLock:
    """A lock file naming its owner by host, boot and process. The lock of a dead owner is broken.

    The kernel's file lock decides on one machine (it vanishes with the process); the file's content tells
    people, and other machines on a shared disk, whose it is. Forks of its owner hold it as well: those that
    are left when the owner is gone are on their way out, and are waited for.

    Args:
        path: Of the lock file.
        anywhere: The owner was on any of several machines, which know by other means that it is gone.
    """

    def __init__(self, path: Path, *, anywhere: bool = False) -> None:
        self._path = path
        self._anywhere = anywhere
        self._file: int | None = None

    def __enter__(self) -> RunLock:
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        until = time.monotonic() + _ORPHAN_SECONDS
        while not (free := _take(descriptor)) and self._waits(descriptor) and time.monotonic() < until:
            time.sleep(_LOOK_SECONDS)
        if not free:
            owner = _read(descriptor)
            os.close(descriptor)
            raise RequestError(
                f"The run in {self._path.parent} is already going on (process {owner.get('pid', '?')} "
                f"on {owner.get('host', '?')}). "
                "Wait for it, stop it, or start another with run_id=NAME."
            ) from None
        owner = _read(descriptor)
        elsewhere = owner and owner.get("host") != socket.gethostname()
        # Its machine may have been taken from it by a cluster, with all that ran there.
        if elsewhere and not self._anywhere and not schedulers.is_over(owner):
            os.close(descriptor)
            raise RequestError(
                f"The run in {self._path.parent} belongs to process {owner.get('pid')} on "
                f"{owner.get('host')}. "
                f"If that machine is gone, delete {self._path} and start again."
            )
        os.ftruncate(descriptor, 0)
        us = {"pid": os.getpid(), "host": socket.gethostname(), "boot": boot_id(), **schedulers.note()}
        os.pwrite(descriptor, json.dumps(us).encode(), 0)
        self._file = descriptor
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            os.ftruncate(self._file, 0)
            os.close(self._file)
            self._file = None

    def _waits(self, descriptor: int) -> bool:
        owner = _read(descriptor)
        elsewhere = self._anywhere and owner.get("host") != socket.gethostname()
        return elsewhere or not _lives(owner)


@dataclass(frozen=True)
class Holder:
    """Who does a run, as the lock of its folder tells.

    Attributes:
        pid: The process.
        host: Its machine.
        is_here: Whether that is this one, where the process was seen to hold the lock.
    """

    pid: int
    host: str
    is_here: bool


def holder(path: Path) -> Holder | None:
    """Who holds a lock file; None where nobody does.

    The file may come from anybody: a process of this machine is named only when it has the file open.
    """
    try:
        descriptor = plain_files.descriptor(path.parent, path.name, os.O_RDONLY)
    except OSError:
        return None
    try:
        free, owner = _take(descriptor, shared=True), _read(descriptor)
        pid, host = owner.get("pid"), owner.get("host")
        if not isinstance(pid, int) or not isinstance(host, str):
            return None
        if host != socket.gethostname():
            return Holder(pid, host, is_here=False)
        return Holder(pid, host, is_here=True) if not free and _has_open(pid, descriptor) else None
    finally:
        os.close(descriptor)


def _has_open(pid: int, descriptor: int) -> bool:
    """Whether a process has the very file open that a descriptor of ours is of."""
    file = os.fstat(descriptor)
    with suppress(OSError):
        for number in os.listdir(place := f"/proc/{pid}/fd"):
            with suppress(OSError):
                if os.path.samestat(os.stat(f"{place}/{number}"), file):
                    return True
    return False


def _take(descriptor: int, *, shared: bool = False) -> bool:
    import fcntl

    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _lives(owner: Mapping[str, object]) -> bool:
    """Whether the owner may be there still; on another machine nobody here can tell."""
    pid = owner.get("pid")
    here = owner.get("host") == socket.gethostname() and owner.get("boot") == boot_id()
    return not here or not isinstance(pid, int) or alive(pid)


def boot_id() -> str:
    """Which start of the machine this is: a process number means nothing after the next one."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _read(descriptor: int) -> dict[str, object]:
    try:
        content = json.loads(os.pread(descriptor, 4096, 0) or b"{}")
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}
