"""What happened in a run, as lines in its outbox: whoever tells people or draws the page reads them there."""

from __future__ import annotations

import json
import os
import time
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from nimble_lightning.ops import plain_files
from nimble_lightning.ops.secrets import redacted
from nimble_lightning.run_folder import EVENTS


@dataclass(frozen=True)
class Event:
    """One thing that happened.

    Attributes:
        kind: started, finished, failed, stopped, retrying, preempted, hung, non_finite, rollback, best,
            milestone, alarm, budget or sweep_finished.
        facts: What is known about it; plain JSON values.
        id: Tells it from every other event, so that it can be delivered once.
        time: Seconds since the epoch.
    """

    kind: str
    facts: dict[str, Any] = field(default_factory=dict)
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    time: float = field(default_factory=time.time)


def append(folder: Path, kind: str, **facts: Any) -> Event:
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
