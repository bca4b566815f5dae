"""Variables that workers must not have: gone before the first is started, back when the last has ended."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import forkserver
from pathlib import Path
from typing import Any


@contextmanager
def withheld(names: Sequence[str]) -> Iterator[dict[str, str]]:
    """Take variables out of the environment of this process and of those it starts; yields what they held."""
    held = {name: os.environ.pop(name) for name in names if name in os.environ}
    _end_server_that_knows(names)
    try:
        yield held
    finally:
        os.environ.update(held)


def _end_server_that_knows(names: Sequence[str]) -> None:
    """Workers are forked from a server; one that an earlier run started has the environment of that time."""
    server: Any = forkserver._forkserver
    pid = server._forkserver_pid
    if pid is None or not names:
        return
    try:
        environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        environment = [f"{name}=".encode() for name in names]
    if any(entry.startswith(f"{name}=".encode()) for entry in environment for name in names):
        # It may be importing still, and would end only after that.
        os.kill(pid, signal.SIGKILL)
        server._stop()
