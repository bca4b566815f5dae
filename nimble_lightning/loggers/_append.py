"""A text file that only grows, by whole lines."""

from __future__ import annotations

import os
from pathlib import Path


class AppendOnly:
    """Each line is one write to the end of the file: after a kill only the last one can be torn."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        self._mend()

    def write(self, line: str) -> None:
        """Append a line, given without its newline."""
        os.write(self._fd, f"{line}\n".encode())

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._fd)

    def _mend(self) -> None:
        # A line torn by a full disk or a power cut must not swallow the next one.
        size = os.fstat(self._fd).st_size
        if size and os.pread(self._fd, 1, size - 1) != b"\n":
            os.write(self._fd, b"\n")
