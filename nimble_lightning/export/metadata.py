"""export.json: what the files beside it are, how to make the model again, and how they were checked."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from nimble_lightning.checkpoint.hash_file import hash_plain
from nimble_lightning.export import metadata
from nimble_lightning.ops import plain_files

ABOUT = "export.json"
SCHEMA = "nimble_lightning.export/1"


def write(folder: Path, facts: Mapping[str, Any], files: Iterable[Path], checks: Mapping[str, Any]) -> None:
    """Describe files in a folder.

    Args:
        folder: Where they are.
        facts: About the model: its class, the trainer's file, the parameters, the run.
        files: All of them.
        checks: For each format, what its check found.
    """
    entries = {
        path.relative_to(folder).as_posix(): {"bytes": path.stat().st_size, "sha256": sha256(path)}
        for path in sorted(files)
    }
    content = {"schema": SCHEMA, **facts, "checks": dict(checks), "files": entries}
    (folder / ABOUT).write_text(json.dumps(content, indent=2, default=str) + "\n", encoding="utf-8")


def read(folder: Path) -> dict[str, Any]:
    """What is said about an exported folder; empty where there is nothing to read."""
    content = plain_files.read_json(folder, ABOUT)
    return content if isinstance(content, dict) and content.get("schema") == SCHEMA else {}


def merged(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """Two descriptions of the same folder as one, where both are of the same weights."""
    same = old.get("run") == new.get("run")
    return {**new, **{k: {**(old.get(k, {}) if same else {}), **new[k]} for k in ("checks", "files")}}


def altered(folder: Path) -> list[str]:
    """The files that are missing or not what they were when they were checked."""
    files = read(folder).get("files")
    if not isinstance(files, dict):
        return [ABOUT]
    return [name for name, entry in files.items() if not _same(folder, name, entry)]


def sha256(path: Path) -> str:
    """The SHA-256 of a file's content, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _same(folder: Path, name: str, entry: Any) -> bool:
    try:
        with plain_files.open_inside(folder, name) as file:
            size = os.fstat(file.fileno()).st_size
            return bool(size == entry["bytes"] and hash_plain(file.fileno()) == entry["sha256"])
    except (OSError, KeyError, TypeError):
        return False


def folder_for(out: Path, name: str, count: int) -> Path:
    """The folder of one model of several; a model alone has the whole."""
    return out if count == 1 else out / name


def exported_in(folder: Path) -> list[Path]:
    """The folders below in which a model was exported."""
    return [
        path.parent for path in sorted([*folder.glob(metadata.ABOUT), *folder.glob(f"*/{metadata.ABOUT}")])
    ]


def is_whole(folder: Path) -> bool:
    """Whether there are exports, and all of their files are what they were when they were checked."""
    found = exported_in(folder)
    return bool(found) and not any(metadata.altered(one) for one in found)
