"""`nimble-cli tail RUN` and `stop RUN`: watch a run that goes on, and have it commit and end."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

from nimble_lightning.commands.argument_parser import Parser
from nimble_lightning.commands.runs.tables import one_run
from nimble_lightning.errors import NimbleError, RequestError
from nimble_lightning.ops import plain_files
from nimble_lightning.ops.durations import in_seconds
from nimble_lightning.ops.untrusted_text import printable
from nimble_lightning.report.folder_source import FolderSource
from nimble_lightning.report.run_list import ListedRun
from nimble_lightning.run_folder import LOCK, LOG
from nimble_lightning.runs.lock import holder

_LOOK_SECONDS = 0.2
_FROM_END = 1 << 16


def tail(words: list[str]) -> int:
    """Print the end of a run's log, and what follows until the run ends."""
    parser = Parser("tail", "Follow the log of a run until it ends.")
    parser.add_argument("run", metavar="RUN", type=Path, help="its folder")
    parser.add_argument("--lines", metavar="N", type=int, default=20, help="of what is there already [20]")
    asked = parser.read(words)
    run = one_run(asked.run)
    position = _print_end(run.folder, max(0, asked.lines))
    while True:
        goes_on = holder(run.folder / LOCK) is not None
        position = _print_from(run.folder, position)
        if not goes_on:
            print(printable(f"{run.name}: {FolderSource(run.folder).run.get('status', 'unknown')}"))
            return 0
        time.sleep(_LOOK_SECONDS)


def stop(words: list[str]) -> int:
    """Have runs commit a checkpoint and end; their commands go on with them."""
    parser = Parser("stop", "Stop runs: each commits a checkpoint, to be continued by the same command.")
    parser.add_argument("runs", metavar="RUN", nargs="+", type=Path, help="their folders")
    parser.add_argument("--wait", metavar="TIME", default="2m", help="for how long, such as 30s or 5m [2m]")
    asked = parser.read(words)
    seconds = in_seconds(asked.wait, "--wait")
    found = [one_run(place) for place in asked.runs]
    for run in found:
        _signal(run)
    until = time.monotonic() + seconds
    for run in found:
        while holder(run.folder / LOCK) is not None:
            if time.monotonic() > until:
                raise NimbleError(f"{run.name} was asked to end, and has not after {asked.wait}")
            time.sleep(_LOOK_SECONDS)
        record = FolderSource(run.folder).run
        print(printable(f"{run.name}: {record.get('message') or record.get('status')}"))
    return 0


def _signal(run: ListedRun) -> None:
    held = holder(run.folder / LOCK)
    if held is None:
        raise RequestError(f"{run.name} is not going on; its status is {run.facts.status}")
    if not held.is_here:
        raise RequestError(
            f"{run.name} goes on in process {held.pid} on {held.host}.\n"
            f"There, or in its cluster job, type: nimble-cli stop {run.name}"
        )
    try:
        os.kill(held.pid, signal.SIGTERM)
    except OSError as error:
        raise NimbleError(f"{run.name}: process {held.pid} cannot be told: {error.strerror}") from None


def _print_end(folder: Path, lines: int) -> int:
    """The last lines of the log; returns where they end."""
    try:
        with plain_files.open_inside(folder, LOG) as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _FROM_END))
            text = file.read().decode(errors="replace")
    except OSError:
        return 0
    for line in text.splitlines()[-lines:] if lines else []:
        print(printable(line))
    return size


def _print_from(folder: Path, position: int) -> int:
    try:
        with plain_files.open_inside(folder, LOG) as file:
            file.seek(position)
            data = file.read(_FROM_END)
    except OSError:
        return position
    # A character may be half written.
    whole = data[: data.rfind(b"\n") + 1] or (data if len(data) == _FROM_END else b"")
    sys.stdout.write(printable(whole.decode(errors="replace")))
    sys.stdout.flush()
    return position + len(whole)
