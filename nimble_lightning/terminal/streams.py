"""Output that can be lost: a terminal that is closed, a pipe nobody reads, a full disk. A run goes on."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO, cast

if TYPE_CHECKING:
    from nimble_lightning.ops.secrets import Redacted


class Expendable:
    """A stream whose failure is nobody's: what cannot be written is lost.

    Args:
        stream: Where it goes, with a file descriptor.
        for_good: Whether all that follows is lost as well. A full disk may have room again.
    """

    def __init__(self, stream: TextIO | Redacted, *, for_good: bool = True) -> None:
        self._stream = stream
        self._for_good = for_good

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except OSError:
            self._lose()
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError:
            self._lose()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _lose(self) -> None:
        """What waits in its buffer goes nowhere as well, or Python's last flush would fail once more."""
        if not self._for_good:
            return
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)
        self._stream.flush()


@contextmanager
def expendable() -> Iterator[None]:
    """While the block runs, nothing fails because nobody reads what is printed."""
    before = sys.stdout, sys.stderr
    ours = [cast(TextIO, Expendable(stream)) for stream in before]
    sys.stdout, sys.stderr = ours
    try:
        yield
    finally:
        for stream in ours:
            stream.flush()
        sys.stdout, sys.stderr = before


def close_for_good() -> int:
    """Whoever was reading has seen enough: nothing more goes into the closed pipe, at exit neither.

    Returns:
        The exit code of a program that the closed pipe has ended.
    """
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 128 + signal.SIGPIPE


def open_missing() -> None:
    """Have three standard streams, whatever this process was started with; else files take their numbers."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, "w" if number else "r", closefd=False))  # noqa: SIM115
