"""How many checkpoints stay. Two committed ones always do, so that a damaged newest one has a predecessor.

A checkpoint is deleted before its manifest: cut off in between, a small manifest of nothing is left, which
the resolver passes over and ``sweep`` deletes, and never a large file that nobody can vouch for.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Collection
from pathlib import Path

from nimble_lightning.checkpoint.atomic_files import remove
from nimble_lightning.checkpoint.fault_points import reach
from nimble_lightning.checkpoint.file_names import (
    MANIFEST_SUFFIX,
    discarded_path,
    parse_retired,
    retired_path,
)
from nimble_lightning.checkpoint.integrity import files_in, manifests_of, read_manifest
from nimble_lightning.checkpoint.manifest import Manifest
from nimble_lightning.checkpoint.resolver import candidates
from nimble_lightning.errors import CheckpointError, RequestError

FLOOR = 2

_log = logging.getLogger(__name__)


def committed(folder: Path) -> list[tuple[Path, Manifest]]:
    """The checkpoints in ``folder`` whose files are there in full length, oldest first; nothing is hashed."""
    found = [(path, manifest) for path in candidates(folder) if (manifest := _complete(path)) is not None]
    return sorted(found, key=lambda item: (item[1].step, item[1].created))


def prune(
    folder: str | os.PathLike[str], *, keep: int, protect: Collection[str | os.PathLike[str]] = ()
) -> list[Path]:
    """Delete all but the newest ``keep`` checkpoints and the protected ones; returns what was deleted.

    Args:
        folder: Searched with its subfolders.
        keep: At least 2.
        protect: Checkpoints that stay and do not count, such as the best one.
    """
    if keep < FLOOR:
        raise RequestError(
            f"Cannot keep {keep} checkpoints; at least {FLOOR} are needed, in case one is damaged."
        )
    shielded = {Path(os.path.abspath(path)) for path in protect}
    paths = [path for path, _ in committed(Path(os.path.abspath(folder))) if path not in shielded]
    for path in paths[:-keep]:
        delete(path)
    return paths[:-keep]


def withdraw(path: Path) -> None:
    """Delete a checkpoint now if two others are left, else mark it to go once they are."""
    others = [other for other, _ in committed(path.parent) if other != path]
    # Hidden names are what Lightning passes between processes; nothing is ever resumed from them.
    if len(others) >= FLOOR or path.name.startswith(".") or not manifests_of(path):
        delete(path)
    else:
        retire(path)


def retire(path: Path) -> None:
    """Mark a checkpoint to be deleted after a later commit."""
    retired_path(path).touch(mode=0o600)


def prune_retired(folder: Path) -> None:
    """Delete the marked checkpoints of ``folder`` that are no longer needed.

    What cannot be deleted is logged and tried again after the next commit; the new checkpoint is safe.
    """
    marked = [folder / name for entry in os.scandir(folder) if (name := parse_retired(entry.name))]
    if not marked:
        return
    paths = [path for path, _ in committed(folder)]
    for path in sorted(marked, key=lambda path: paths.index(path) if path in paths else -1):
        if len([other for other in paths if other != path]) < FLOOR:
            return
        try:
            delete(path)
        except OSError as error:
            _log.warning("The old checkpoint %s could not be deleted: %s", path, error)
        else:
            paths = [other for other in paths if other != path]


def delete(path: Path) -> None:
    """Delete a checkpoint with its manifest; none is no error."""
    reach("prune")
    if path.is_dir() and not path.is_symlink():
        gone = discarded_path(path)
        os.replace(path, gone)
        shutil.rmtree(gone)
    else:
        remove(path)
        path.with_name(path.name + MANIFEST_SUFFIX).unlink(missing_ok=True)
    retired_path(path).unlink(missing_ok=True)


def _complete(path: Path) -> Manifest | None:
    for place in manifests_of(path):
        try:
            manifest = read_manifest(place)
            if manifest.name == path.name and _sizes(path) == {k: v.size for k, v in manifest.files.items()}:
                return manifest
        except (CheckpointError, OSError):
            continue
    return None


def _sizes(path: Path) -> dict[str, int]:
    if path.is_dir():
        return {name: (path / name).stat().st_size for name in files_in(path)}
    return {path.name: path.stat().st_size}
