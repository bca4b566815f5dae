"""The outbox of a run: which event is still to be delivered to which address, across kills and restarts."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

from nimble_lightning.errors import RequestError
from nimble_lightning.notifications import events
from nimble_lightning.notifications.delivery_plan import Batch, Numbered
from nimble_lightning.notifications.events import Event
from nimble_lightning.ops import plain_files
from nimble_lightning.run_folder import DELIVERED, EVENTS, OUTBOX

_MOST_AT_ONCE = 64 << 20


LOCK = "sender.lock"
SENDER = "nimble_lightning.notifications.sender"


class Tail:
    """Reads the events of a folder as they are written, each once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._at = 0
        self._count = 0

    def read(self) -> list[Numbered]:
        """The events since the last call; a line that is still being written is left for the next."""
        try:
            with plain_files.open_inside(self._folder, EVENTS) as file:
                file.seek(self._at)
                data = file.read(_MOST_AT_ONCE)
        except OSError:
            # Not there yet, or a disk that comes and goes: the next look will tell.
            return []
        whole = data[: data.rfind(b"\n") + 1]
        self._at += len(whole)
        found = []
        for line in whole.splitlines():
            if (event := events.parsed(line)) is not None:
                self._count += 1
                found.append(Numbered(self._count, event))
        return found


class Delivered:
    """What was delivered to whom. A line is on the disk before anything else is sent."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._gone: dict[str, set[str]] = {}
        self.messages: list[tuple[str, str, float]] = []
        for line in _lines(folder):
            gone = self._gone.setdefault(str(line.get("target")), set())
            with contextlib.suppress(TypeError, ValueError, KeyError):
                gone.update(map(str, line.get("ids", ())), map(str, line.get("past", ())))
                if "ids" in line:
                    self.messages.append((str(line["target"]), str(line.get("kind")), float(line["time"])))

    def join(self, targets: Iterable[str]) -> None:
        """Name the addresses of this start.

        One that is new, because it was added or its token changed, takes over what nobody was told; what
        others were told already is past.
        """
        past = set().union(*self._gone.values()) if self._gone else set()
        new = [target for target in targets if target not in self._gone]
        for target in new:
            self._gone[target] = set(past)
        lines = [{"target": target, "joined": time.time(), "past": sorted(past)} for target in new]
        if lines:
            with contextlib.suppress(OSError):
                _append(self._folder, lines)

    def has(self, target: str, event: Event) -> bool:
        return event.id in self._gone.get(target, ())

    def remember(self, target: str, batch: Batch) -> None:
        """In this process alone: the line was written by the one that sent."""
        self._gone.setdefault(target, set()).update(batch.ids)


def record(folder: Path, target: str, batch: Batch) -> None:
    """Write down that a message arrived.

    Raises:
        OSError: It could not be written.
    """
    line = {"target": target, "kind": batch.kind, "ids": batch.ids, "time": time.time()}
    _append(folder, [line])


def _append(folder: Path, lines: list[dict[str, Any]]) -> None:
    text = "".join("\n" + json.dumps(line) + "\n" for line in lines)
    file = plain_files.descriptor(folder, DELIVERED, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(file, text.encode())
        os.fsync(file)
    finally:
        os.close(file)


def _lines(folder: Path) -> Iterator[dict[str, Any]]:
    with contextlib.suppress(OSError), plain_files.open_inside(folder, DELIVERED) as file:
        for text in plain_files.lines(file):
            with contextlib.suppress(ValueError, RecursionError):
                line = json.loads(text)
                if isinstance(line, dict):
                    yield line


class OutboxLock:
    """Held while somebody delivers; it vanishes with its holder, however that ended.

    Args:
        folder: Of the run.
        take_over: Ask the holder to end, and wait for it. Otherwise a holder is an error.

    Raises:
        RequestError: Somebody else delivers; or the lock is no plain file.
    """

    def __init__(self, folder: Path, *, take_over: bool = False) -> None:
        self._folder = folder
        self._take_over = take_over
        self._file = -1

    def __enter__(self) -> OutboxLock:
        (self._folder / OUTBOX).mkdir(mode=0o700, parents=True, exist_ok=True)
        name = f"{OUTBOX}/{LOCK}"
        try:
            self._file = plain_files.descriptor(self._folder, name, os.O_RDWR | os.O_CREAT)
        except OSError as error:
            raise RequestError(
                f"{self._folder / name} cannot be locked ({error.strerror}): expected a plain file; remove it"
            ) from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(self._file, 32, 0).decode(errors="replace").strip()
            if not self._take_over:
                os.close(self._file)
                raise RequestError(f"Process {holder or '?'} is delivering these already.") from None
            _ask_to_end(holder)
            fcntl.flock(self._file, fcntl.LOCK_EX)
        with contextlib.suppress(OSError):
            os.ftruncate(self._file, 0)
            os.pwrite(self._file, str(os.getpid()).encode(), 0)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._file)


def _ask_to_end(holder: str) -> None:
    """By the number in the lock, once it is certain that it is still a sender's on this machine."""
    with contextlib.suppress(OSError, ValueError):
        if SENDER.encode() in Path(f"/proc/{int(holder)}/cmdline").read_bytes():
            os.kill(int(holder), signal.SIGTERM)
