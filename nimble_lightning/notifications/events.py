"""What happened in a run, as lines in its outbox: whoever tells people or draws the page reads them there."""

from __future__ import annotations

import json
import os
import time
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from nimble_lightning.ops import plain_files
from nimble_lightning.ops.secrets import redacted
from nimble_lightning.run_folder import EVENTS


class EventKind(StrEnum):
    """The kinds of event that people can be told of, and all that is known of each: a new one is a line.

    Attributes:
        words: What happened to the run, in the title of a message.
        is_good: Whether services show it as a success or as a failure; None as neither.
        mark: What it is called on the charts of the page; "" for one that has no mark there.
        tone: The colour of that mark: "warn" or "bad".
    """

    STARTED = "started", "started"
    FINISHED = "finished", "finished", True
    FAILED = "failed", "failed", False
    STOPPED = "stopped", "was stopped"
    RETRYING = "retrying", "is retrying"
    PREEMPTED = "preempted", "was preempted and will resume"
    HUNG = "hung", "hung and was restarted", False
    NON_FINITE = "non_finite", "met a non-finite gradient", None, "non-finite step", "bad"
    ROLLBACK = "rollback", "rolled back", None, "rollback", "warn"
    BEST = "best", "has a new best"
    MILESTONE = "milestone", "reached a milestone"
    ALARM = "alarm", "raised an alarm", False, "alarm", "warn"
    BUDGET = "budget", "spent its budget", None, "budget used up", "warn"
    SWEEP_FINISHED = "sweep_finished", "finished its sweep"

    words: str
    is_good: bool | None
    mark: str
    tone: str

    def __new__(
        cls, name: str, words: str, is_good: bool | None = None, mark: str = "", tone: str = ""
    ) -> EventKind:
        """A kind by its name in files and settings."""
        kind = str.__new__(cls, name)
        kind._value_ = name
        kind.words, kind.is_good, kind.mark, kind.tone = words, is_good, mark, tone
        return kind

    @classmethod
    def named(cls, name: str) -> EventKind | None:
        """The kind of a name read from a file, which may come from anybody."""
        return next((kind for kind in cls if kind == name), None)


# The last of a run.
ENDS = (EventKind.FINISHED, EventKind.FAILED, EventKind.STOPPED)


@dataclass(frozen=True)
class Event:
    """One thing that happened.

    Attributes:
        kind: The name of an `EventKind`; from another version of this package it may be another.
        facts: What is known about it; plain JSON values.
        id: Tells it from every other event, so that it can be delivered once.
        time: Seconds since the epoch.
    """

    kind: str
    facts: dict[str, Any] = field(default_factory=dict)
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    time: float = field(default_factory=time.time)


def append(folder: Path, kind: EventKind, **facts: Any) -> Event:
    """Add an event to the outbox of a folder; one write, so lines of several processes never mix.

    Raises:
        OSError: It could not be written.
    """
    event = Event(kind, redacted(facts))
    (folder / EVENTS).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # A line that a kill or a full disk cut short must not swallow this one; readers skip empty lines.
    line = "\n" + json.dumps(asdict(event), default=str) + "\n"
    file = plain_files.descriptor(folder, EVENTS, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(file, line.encode())
    finally:
        os.close(file)
    return event


def read(folder: Path) -> Iterator[Event]:
    """The events of a folder in the order they were written; what is no whole line is passed over."""
    try:
        with plain_files.open_inside(folder, EVENTS) as file:
            found = map(parsed, plain_files.lines(file))
            yield from (event for event in found if event is not None)
    except OSError:
        return


def parsed(line: bytes) -> Event | None:
    """The event on a line; None where it is none."""
    try:
        event = Event(**json.loads(line))
    except (ValueError, TypeError, RecursionError):
        return None
    kinds = ((event.kind, str), (event.facts, dict), (event.id, str), (event.time, int | float))
    return event if all(isinstance(value, kind) for value, kind in kinds) else None
