"""A file that gets a line now and then, for hours."""

from __future__ import annotations

import errno
import os
from pathlib import Path


def append(path: Path, line: str) -> None:
    """Add a line; one that a kill or a full disk cut short does not swallow it.

    The file is opened each time, so that nothing is held open in between, nor in processes forked meanwhile.

    Raises:
        OSError: It could not be written, or not whole.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        size = os.fstat(file).st_size
        torn = size > 0 and os.pread(file, 1, size - 1) != b"\n"
        content = b"\n" * torn + f"{line}\n".encode()
        if os.write(file, content) < len(content):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
    finally:
        os.close(file)
