"""The slot of a member of a sweep: taken before its first worker starts, left when its last one has ended.

A member is there before there is room for it, so that it starts at once when there is. What it does after its
last worker, writing its page for one, keeps nobody waiting. A process that is no member of a sweep has all of
the machine.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection

_LESS_URGENT = 5
# To the command that runs the sweep, in its members.
_command: Connection | None = None
_then: list[Callable[[], None]] = []


def wait_for(command: Connection) -> None:
    """From here on this process is a member: the command says when it may start, and with what."""
    global _command
    _command = command


def then(begin: Callable[[], None]) -> None:
    """Do something once the slot is taken; at once where there is no need for one."""
    if _command is None:
        begin()
    else:
        _then.append(begin)


def take() -> None:
    """Wait until there is room, and use what there is room for."""
    if _command is None:
        return
    try:
        os.environ.update(_command.recv())
    except (EOFError, ConnectionResetError):
        raise SystemExit("the command that runs the sweep is gone") from None
    while _then:
        _then.pop()()


def leave() -> None:
    """Let the next one in, and do what is left when it does not need the time."""
    if _command is not None:
        with suppress(BrokenPipeError):
            _command.send(None)
        os.nice(_LESS_URGENT)
