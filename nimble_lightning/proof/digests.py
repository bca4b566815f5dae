"""Files hashed side by side, in memory that does not grow with them."""

from __future__ import annotations

import os
from collections.abc import Container, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from nimble_lightning.checkpoint.hash_file import hash_plain
from nimble_lightning.checkpoint.manifest import FileRecord
from nimble_lightning.ops.plain_files import open_plain

# Hashing leaves the interpreter's lock, so threads are enough; more would only wait for the disk.
_SIDE_BY_SIDE = 4


def digest_of(path: Path, sizes: Container[int] | None = None) -> FileRecord:
    """Size and sha256 of a plain file; a link or anything else is an OSError.

    Args:
        path: The file.
        sizes: Those that are of interest. A file of another one has no digest: it is not read, since there
            may be no end to it.
    """
    with open_plain(path) as file:
        size = os.fstat(file.fileno()).st_size
        return FileRecord(size, hash_plain(file.fileno()) if sizes is None or size in sizes else "")


def digests_of(
    folder: Path, names: Iterable[str], sizes: Container[int] | None = None
) -> Iterator[tuple[str, FileRecord | OSError]]:
    """Each file's record, or why it could not be read; in the order of the names."""
    listed = list(names)
    workers = min(_SIDE_BY_SIDE, os.cpu_count() or 1)
    with ThreadPoolExecutor(workers, thread_name_prefix="proof-hash") as pool:
        yield from zip(listed, pool.map(lambda name: _try(folder / name, sizes), listed), strict=True)


def _try(path: Path, sizes: Container[int] | None) -> FileRecord | OSError:
    try:
        return digest_of(path, sizes)
    except OSError as error:
        return error
