"""A save that is whole or absent, at whatever point it is cut off.

The file and its manifest are first written under temporary names beside their final ones and flushed to the
disk; then the file gets its name, then the manifest. Cut off between the two, the waiting manifest still
vouches for the file, so that even a checkpoint saved over an older one of the same name is never lost.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from nimble_lightning.checkpoint.atomic_files import flush, replace, write_new
from nimble_lightning.checkpoint.cleanup import settle
from nimble_lightning.checkpoint.fault_points import reach
from nimble_lightning.checkpoint.file_names import manifest_path, temporary_path
from nimble_lightning.checkpoint.hash_file import HashingFile, write_hashed
from nimble_lightning.checkpoint.manifest import FileRecord, Manifest

Describe = Callable[[Mapping[str, FileRecord]], Manifest]

_log = logging.getLogger(__name__)
_listeners: list[Callable[[Path], object]] = []


def listen(listener: Callable[[Path], object]) -> Callable[[], None]:
    """Have it called with each checkpoint that this process commits, before any older one is deleted.

    Called where the save is made, so it should do little. Returns what ends it.
    """
    _listeners.append(listener)
    return lambda: _listeners.remove(listener) if listener in _listeners else None


def announce(path: Path) -> None:
    """A checkpoint is whole from now on."""
    for listener in list(_listeners):
        try:
            listener(path)
        except Exception:  # nobody's interest in a checkpoint costs the run
            _log.warning("%s is saved, but not everybody could be told of it", path, exc_info=True)


def commit_file(path: Path, write: Callable[[HashingFile], None], describe: Describe) -> Manifest:
    """Save one file with its manifest.

    Args:
        path: Its final name; the folder is made if it is missing, for the owner alone.
        write: Writes the content to the file it is given.
        describe: Makes the manifest from sizes and digests, by name.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    settle(path)
    temporary = temporary_path(path)
    waiting = temporary_path(manifest_path(path))
    temporary.unlink(missing_ok=True)  # a dead process had our id: usual where a container starts anew
    try:
        record = write_hashed(temporary, write)
        reach("pending")
        manifest = describe({path.name: record})
        write_new(waiting, manifest.dump())
        if path.exists():
            # The older checkpoint of this name must not go before the names of its successor are safe.
            flush(path.parent)
        reach("replace")
        replace(temporary, path)
    except BaseException:
        _clear(temporary, waiting)
        raise
    reach("folder")
    flush(path.parent)
    reach("manifest")
    # Not flushed again: until this name is on the disk, the waiting one is.
    os.replace(waiting, manifest_path(path))
    announce(path)
    return manifest


def _clear(temporary: Path, waiting: Path) -> None:
    # The waiting manifest goes only while the file it describes has not got its name.
    with suppress(OSError):
        temporary.unlink()
        waiting.unlink(missing_ok=True)
