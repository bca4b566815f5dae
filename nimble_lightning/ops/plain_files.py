"""Files of a folder that may come from anybody: only plain ones that lie inside it are ever opened.

The folder itself may be reached through a link, since somebody named it. Nothing below it is followed: no
link, whether to a file or a folder, and no `..`. A pipe or a device keeps nobody waiting.
"""

from __future__ import annotations

import errno
import json
import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

# Of a record, such as run.json: a run of a thousand attempts has a hundredth of this.
MOST_BYTES = 16 << 20
_MOST_LINE = 4 << 20
_FOLDER = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_CLOEXEC
# Without waiting: a pipe in which nobody writes would be opened never.
_FILE = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def open_plain(path: Path) -> BinaryIO:
    """Open a file for reading.

    Raises:
        OSError: It is not there, or a link, or no plain file.
    """
    return open_inside(path.parent, path.name)


def open_inside(folder: Path, name: str | os.PathLike[str]) -> BinaryIO:
    """Open a file of a folder for reading.

    Args:
        folder: The folder.
        name: The file's path in it.

    Raises:
        OSError: It is not there, or not inside, or a link is on the way to it, or it is no plain file.
    """
    return os.fdopen(descriptor(folder, name, os.O_RDONLY), "rb")


def descriptor(folder: Path, name: str | os.PathLike[str], flags: int) -> int:
    """The same with flags of one's own; what is made is for its owner only."""
    *parents, last = _parts(name)
    place = os.open(folder, _FOLDER)
    try:
        for parent in parents:
            inner = os.open(parent, _FOLDER | os.O_NOFOLLOW, dir_fd=place)
            os.close(place)
            place = inner
        file = os.open(last, flags | _FILE, 0o600, dir_fd=place)
    finally:
        os.close(place)
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise OSError(errno.EINVAL, "not a plain file", str(name))
    return file


def read(folder: Path, name: str | os.PathLike[str], most: int = MOST_BYTES) -> bytes:
    """The content of a file of a folder.

    Raises:
        OSError: As `open_inside`; or there is more of it than expected.
    """
    with open_inside(folder, name) as file:
        if (size := os.fstat(file.fileno()).st_size) > most:
            raise OSError(errno.EFBIG, f"it has {size:,} bytes, expected {most:,} at most", str(name))
        return file.read(most)


def read_json(folder: Path, name: str | os.PathLike[str]) -> Any:
    """What a file of JSON holds; None where there is none, or none that is whole."""
    with suppress(OSError, ValueError, RecursionError):
        return json.loads(read(folder, name))
    return None


def lines(file: BinaryIO) -> Iterator[bytes]:
    """The lines of a file, until one that nobody would have written: a hole in a file has no end."""
    while line := file.readline(_MOST_LINE):
        if len(line) == _MOST_LINE:
            return
        yield line


def is_inside(folder: Path, path: Path) -> bool:
    """Whether a file or folder is there and reached from the folder without a link."""
    try:
        parts = _parts(path.relative_to(folder))
        found = [folder.joinpath(*parts[: end + 1]).lstat().st_mode for end in range(len(parts))]
    except (OSError, ValueError):
        return False
    return all(map(stat.S_ISDIR, found[:-1])) and (stat.S_ISREG(found[-1]) or stat.S_ISDIR(found[-1]))


def found_inside(folder: Path, place: Path, pattern: str) -> list[Path]:
    """What matches below a place in a folder, in order; nothing is looked at that a link leads to."""
    paths = sorted(place.rglob(pattern)) if is_inside(folder, place) else []
    return [path for path in paths if is_inside(folder, path)]


def replace(path: Path, data: bytes, *, flush: bool = True) -> None:
    """Replace a file, for its owner alone: readers see the old or the new, and no link is followed.

    Args:
        path: The file.
        data: Its new content.
        flush: Whether it has to survive a power cut.

    Raises:
        OSError: It could not be written; what was there is still there.
    """
    temporary = path.with_name(f".{path.name}.tmp-{os.getpid()}")
    # A killed process of the same number, or somebody who wants to have his file written, may have left one.
    temporary.unlink(missing_ok=True)
    try:
        made = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(made, "wb") as file:
            file.write(data)
            if flush:
                file.flush()
                os.fsync(made)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _parts(name: str | os.PathLike[str]) -> tuple[str, ...]:
    pure = PurePosixPath(name)
    if not pure.parts or pure.is_absolute() or ".." in pure.parts or "\0" in str(pure):
        raise OSError(errno.EINVAL, "not inside the folder", str(name))
    return pure.parts
