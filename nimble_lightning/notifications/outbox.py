"""The outbox of a run: which event is still to be delivered to which address, across kills and restarts."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from nimble_lightning.notifications import events
from nimble_lightning.notifications.delivery_plan import Batch, Numbered
from nimble_lightning.notifications.events import Event
from nimble_lightning.ops import plain_files
from nimble_lightning.run_folder import DELIVERED, EVENTS

_MOST_AT_ONCE = 64 << 20


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
