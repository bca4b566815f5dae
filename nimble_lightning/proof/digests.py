"""Files hashed side by side, in memory that does not grow with them."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from nimble_lightning.checkpoint.disk import open_plain
from nimble_lightning.checkpoint.hashing import hash_plain
from nimble_lightning.checkpoint.manifest import FileRecord

# Hashing leaves the interpreter's lock, so threads are enough; more would only wait for the disk.
_SIDE_BY_SIDE = 4


def digest_of(path: Path) -> FileRecord:
    """Size and sha256 of a plain file; a link or anything else is an OSError."""
    with open_plain(path) as file:
        before = os.fstat(file.fileno())
        if not stat.S_ISREG(before.st_mode):
            raise OSError(f"{path} is not a plain file")
        return FileRecord(before.st_size, hash_plain(file.fileno()))


def digests_of(folder: Path, names: Iterable[str]) -> Iterator[tuple[str, FileRecord | OSError]]:
    """Each file's record, or why it could not be read; in the order of the names."""
    listed = list(names)
    workers = min(_SIDE_BY_SIDE, os.cpu_count() or 1)
    with ThreadPoolExecutor(workers, thread_name_prefix="proof-hash") as pool:
        yield from zip(listed, pool.map(lambda name: _try(folder / name), listed), strict=True)


def _try(path: Path) -> FileRecord | OSError:
    try:
        return digest_of(path)
    except OSError as error:
        return error
