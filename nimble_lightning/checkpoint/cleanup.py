"""What a killed process leaves behind: finished if it is whole, else deleted. Other names are not touched."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from nimble_lightning.checkpoint.file_names import (
    FOLDER_MANIFEST,
    MANIFEST_SUFFIX,
    manifest_path,
    parse_retired,
    parse_temporary,
)
from nimble_lightning.checkpoint.integrity import manifests_of, read_manifest, verify
from nimble_lightning.errors import CheckpointError


def sweep(folder: str | os.PathLike[str]) -> list[Path]:
    """Clean a folder of checkpoints after a crash, while nothing is writing to it.

    A sharded checkpoint that was complete but had not got its name gets it; a manifest waiting for its name
    likewise. Files of other processes that still live are left alone.

    Returns:
        What was deleted.
    """
    removed: list[Path] = []
    for parent, folders, names in os.walk(folder):
        for name in sorted(folders):
            if _is_dead(Path(parent, name)):
                folders.remove(name)
                _finish_folder(Path(parent, name), removed)
        for name in sorted(names):
            _sweep_file(Path(parent, name), removed)
    return removed


def settle(path: Path) -> list[Path]:
    """Give a waiting manifest of ``path`` its name if it holds; any other is deleted and returned."""
    removed: list[Path] = []
    for waiting in manifests_of(path) if path.parent.is_dir() else []:
        if not _is_dead(waiting):
            continue
        try:
            whole = path.exists() and read_manifest(waiting) == verify(path)
        except CheckpointError:
            whole = False
        if whole:
            os.replace(waiting, manifest_path(path))
        else:
            waiting.unlink(missing_ok=True)
            removed.append(waiting)
    return removed


def _sweep_file(path: Path, removed: list[Path]) -> None:
    temporary = parse_temporary(path.name)
    if temporary is not None and temporary[0] == FOLDER_MANIFEST:
        removed += settle(path.parent)
    elif temporary is not None and temporary[0].endswith(MANIFEST_SUFFIX):
        removed += settle(path.with_name(temporary[0].removesuffix(MANIFEST_SUFFIX)))
    elif _is_dead(path) or _is_orphan(path):
        path.unlink(missing_ok=True)
        removed.append(path)


def _is_orphan(path: Path) -> bool:
    """Whether a manifest or a retirement mark has outlived its checkpoint."""
    owner = parse_retired(path.name)
    if owner is None and path.name.endswith(MANIFEST_SUFFIX) and _is_manifest(path):
        owner = path.name.removesuffix(MANIFEST_SUFFIX)
    return owner is not None and not os.path.lexists(path.with_name(owner))


def _is_manifest(path: Path) -> bool:
    try:
        read_manifest(path)
    except CheckpointError:
        return False
    return True


def _finish_folder(path: Path, removed: list[Path]) -> None:
    temporary = parse_temporary(path.name)
    final = path.with_name(temporary[0]) if temporary else path
    try:
        whole = read_manifest(path / FOLDER_MANIFEST).name == final.name and not os.path.lexists(final)
    except CheckpointError:
        whole = False
    if whole:
        os.replace(path, final)
    else:
        shutil.rmtree(path)
        removed.append(path)


def _is_dead(path: Path) -> bool:
    """Whether ``path`` has a temporary name and no other living process is writing it."""
    temporary = parse_temporary(path.name)
    if temporary is None or path.is_symlink():
        return False
    if temporary[1] == os.getpid():
        return True
    try:
        os.kill(temporary[1], 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False
