"""A few bytes per rank that say how far it is, written at every step and read from outside.

The file is mapped into memory, so a beat is one copy and no system call; what a killed process wrote last
stays readable.
"""

from __future__ import annotations

import mmap
import os
import struct
import time
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

_LAYOUT = struct.Struct("<qqdqq")


class Phase(IntEnum):
    """What a worker is busy with."""

    STARTING = 0
    TRAINING = 1
    VALIDATING = 2
    SAVING = 3
    ENDING = 4
    ENDED = 5


@dataclass(frozen=True)
class Beat:
    """The last sign of life of a rank.

    Attributes:
        pid: Its process.
        count: How many signs there have been.
        time: When, on the clock that all processes of a machine share and that is never set.
        step: The optimizer steps done.
        phase: What it was busy with.
    """

    pid: int
    count: int
    time: float
    step: int
    phase: Phase


class Heart:
    """The writing side."""

    def __init__(self, path: Path) -> None:
        with open(path, "a+b") as file:
            os.ftruncate(file.fileno(), _LAYOUT.size)
            self._map = mmap.mmap(file.fileno(), _LAYOUT.size)
        self._pid = os.getpid()
        self._count = _LAYOUT.unpack_from(self._map)[1]
        self.phase = Phase.STARTING
        self.step = 0

    def beat(self, step: int, phase: Phase) -> None:
        self._count += 1
        self.phase, self.step = phase, step
        # Not `pack_into`, which empties the place before it fills it: whoever looked in between saw a step 0
        # at time 0, and a hang.
        self._map[:] = _LAYOUT.pack(self._pid, self._count, time.monotonic(), step, phase)


def read(path: Path) -> Beat | None:
    """The last beat in a file; None before the first."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    if len(content) != _LAYOUT.size:
        return None
    pid, count, at, step, phase = _LAYOUT.unpack(content)
    return Beat(pid, count, at, step, Phase(phase)) if pid else None
