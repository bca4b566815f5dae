"""Which checkpoint to start from."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from nimble_lightning.checkpoint.file_names import CHECKPOINT_SUFFIX, FOLDER_MANIFEST, MANIFEST_SUFFIX
from nimble_lightning.checkpoint.integrity import manifests_of, read_manifest, verify
from nimble_lightning.checkpoint.manifest import Manifest
from nimble_lightning.errors import CheckpointError


@dataclass(frozen=True, slots=True)
class Found:
    """The checkpoint to take, and those that were passed over, each with the reason."""

    path: Path
    manifest: Manifest
    skipped: tuple[tuple[Path, str], ...]


def newest_whole(
    folder: str | os.PathLike[str],
    *,
    run_id: str | None = None,
    passed_over: list[tuple[Path, str]] | None = None,
) -> Found | None:
    """The checkpoint with the most steps, then the youngest, that is whole; None if there is none.

    Reads only; nothing is unpickled. After a crash call ``sweep`` first.

    Args:
        folder: Searched with its subfolders.
        run_id: If given, checkpoints of other runs are passed over.
        passed_over: Filled with those passed over and why, also where none is left.
    """
    skipped: list[tuple[Path, str]] = [] if passed_over is None else passed_over
    ranked: list[tuple[int, float, str, Path]] = []
    for path in candidates(Path(os.path.abspath(folder))):
        manifest = _claim(path, run_id, skipped)
        if manifest is not None:
            ranked.append((manifest.step, manifest.created, path.name, path))
    for _, _, _, path in sorted(ranked, reverse=True):
        try:
            return Found(path, verify(path, run_id=run_id), tuple(skipped))
        except CheckpointError as error:
            skipped.append((path, str(error)))
    return None


def candidates(folder: Path) -> list[Path]:
    """Everything under ``folder`` that has a manifest or is called a checkpoint; hidden names are not."""
    found: set[Path] = set()
    for parent, folders, names in os.walk(folder):
        for name in names:
            owner = name.removesuffix(MANIFEST_SUFFIX)
            if not name.startswith(".") and (owner != name or name.endswith(CHECKPOINT_SUFFIX)):
                found.add(Path(parent, owner))
        for name in list(folders):
            if name.startswith("."):
                folders.remove(name)
            elif name.endswith(CHECKPOINT_SUFFIX) or Path(parent, name, FOLDER_MANIFEST).exists():
                folders.remove(name)
                found.add(Path(parent, name))
    return sorted(found)


def _claim(path: Path, run_id: str | None, skipped: list[tuple[Path, str]]) -> Manifest | None:
    """The manifest to rank by, its files not yet read; a checkpoint without a usable one is passed over."""
    places = manifests_of(path)
    with suppress(CheckpointError):
        if len(places) == 1:
            return read_manifest(places[0])
    try:
        # No manifest, a broken one, or several after a crash: only the files can tell.
        return verify(path, run_id=run_id)
    except CheckpointError as error:
        skipped.append((path, str(error)))
    return None
