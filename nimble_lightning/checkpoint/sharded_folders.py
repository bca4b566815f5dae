"""Sharded checkpoints: folders that several ranks write, sealed by one manifest over all their files."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from nimble_lightning.checkpoint.atomic_files import flush, write_new
from nimble_lightning.checkpoint.cleanup import settle
from nimble_lightning.checkpoint.commit import announce
from nimble_lightning.checkpoint.fault_points import reach
from nimble_lightning.checkpoint.file_names import FOLDER_MANIFEST, discarded_path, temporary_path
from nimble_lightning.checkpoint.hash_file import hash_plain
from nimble_lightning.checkpoint.integrity import files_in
from nimble_lightning.checkpoint.manifest import FileRecord, Manifest
from nimble_lightning.checkpoint.position import RunFacts, describe
from nimble_lightning.ops.plain_files import open_plain


def staging_folder(path: str | os.PathLike[str]) -> Path:
    """An empty folder for all ranks to write into before ``seal_folder``; made on rank 0."""
    staged = temporary_path(Path(os.path.abspath(path)))
    if staged.exists():
        shutil.rmtree(staged)
    staged.mkdir(mode=0o700, parents=True)
    return staged


def seal_folder(
    path: str | os.PathLike[str],
    facts: RunFacts,
    *,
    staged: Path | None = None,
    parent: str | None = None,
    shards: Mapping[str, FileRecord] | None = None,
) -> Manifest:
    """Commit a sharded checkpoint, on rank 0, after every rank has written its part.

    Args:
        path: Its final name.
        facts: What the manifest says about the run.
        staged: The folder from ``staging_folder``, which gets the name ``path``; without it the files are in
            ``path`` already, as Lightning's strategies put them, and the manifest alone makes them whole.
        parent: Digest of the manifest committed before.
        shards: Files that the ranks which wrote them have made sure of already.
    """
    path = Path(os.path.abspath(path))
    folder = staged or path
    settle(folder)
    reach("open")
    known = shards or {}
    files = {name: known.get(name) or record(folder / name) for name in files_in(folder)}
    manifest = describe(path.name, files, facts, parent)
    reach("pending")
    _write_manifest(folder, manifest)
    if staged is not None:
        _rename(staged, path)
    reach("folder")
    flush(path.parent)
    announce(path)
    return manifest


def record(path: Path) -> FileRecord:
    """Size and digest of a file that is on the disk from now on."""
    with open_plain(path) as file:
        digest = hash_plain(file.fileno())
        reach("fsync")
        os.fsync(file.fileno())
        return FileRecord(os.fstat(file.fileno()).st_size, digest)


def _write_manifest(folder: Path, manifest: Manifest) -> None:
    final = folder / FOLDER_MANIFEST
    waiting = temporary_path(final)
    write_new(waiting, manifest.dump())
    for inner in {folder, *((folder / name).parent for name in manifest.files)}:
        flush(inner)
    reach("manifest")
    os.replace(waiting, final)
    flush(folder)


def _rename(staged: Path, path: Path) -> None:
    """Cut off between the two renames, ``sweep`` does the second."""
    old = discarded_path(path)
    reach("replace")
    if os.path.lexists(path):
        os.replace(path, old)
    os.replace(staged, path)
    if old.is_dir():
        shutil.rmtree(old)
