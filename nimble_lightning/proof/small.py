"""Small files of a folder that nobody has vouched for yet: looked at before they are read."""

from __future__ import annotations

import errno
import json
import os
import stat
from pathlib import Path
from typing import Any

from nimble_lightning.checkpoint.disk import open_plain
from nimble_lightning.errors import CheckpointError

_LARGEST_RECORD = 16 << 20


def read_small(path: Path, largest: int) -> bytes:
    """The content of a plain file that is no larger than that; else an OSError or CheckpointError."""
    found = path.lstat()
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "not a plain file", str(path))
    if found.st_size > largest:
        raise CheckpointError(f"{path.name} has {found.st_size:,} bytes, expected {largest:,} at most")
    with open_plain(path) as file:
        return file.read(largest)


def record(path: Path) -> dict[str, Any]:
    """A file of JSON; empty where there is none that can be read."""
    try:
        content = json.loads(read_small(path, _LARGEST_RECORD))
    except (OSError, ValueError, RecursionError, CheckpointError):
        return {}
    return content if isinstance(content, dict) else {}


def write_whole(path: Path, data: bytes) -> None:
    """Replace a file so that readers see the old or the new, never a part."""
    temporary = path.with_name(f".{path.name}.tmp-{os.getpid()}")
    with open(temporary, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
