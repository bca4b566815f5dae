"""Who uses something: the process, its user, its machine."""

from __future__ import annotations

import getpass
import os
import socket

from nimble_lightning.usage.rank_record import RankRecord


def this_process(piece: RankRecord) -> RankRecord:
    """The piece with the names of this process in it."""
    piece.pid, piece.host, piece.user = os.getpid(), socket.gethostname(), user()
    return piece


def user() -> str:
    """The name of the user who runs this process, or the number where there is no name."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        # A container's user need not have a name.
        return str(os.getuid())
