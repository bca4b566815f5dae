"""The names of the files beside a checkpoint."""

from __future__ import annotations

import os
import re
from pathlib import Path

MANIFEST_SUFFIX = ".manifest.json"
FOLDER_MANIFEST = "manifest.json"
CHECKPOINT_SUFFIX = ".ckpt"

_TEMPORARY = re.compile(r"\.(?P<name>.+)\.tmp-(?P<pid>[1-9][0-9]{0,9})")
_RETIRED = re.compile(r"\.(?P<name>.+)\.retired")


def manifest_path(path: Path) -> Path:
    """Where the manifest of the checkpoint ``path`` is: beside a file, inside a folder."""
    return path / FOLDER_MANIFEST if path.is_dir() else path.with_name(path.name + MANIFEST_SUFFIX)


def temporary_path(path: Path) -> Path:
    """The name under which this process writes what will become ``path``."""
    return path.with_name(f".{path.name}.tmp-{os.getpid()}")


def discarded_path(path: Path) -> Path:
    """The name under which this process deletes the folder ``path``; never taken for one being written."""
    return temporary_path(path.with_name(path.name + ".old"))


def retired_path(path: Path) -> Path:
    """The empty mark which says that ``path`` may go once two newer checkpoints are there."""
    return path.with_name(f".{path.name}.retired")


def parse_temporary(name: str) -> tuple[str, int] | None:
    """The final name and the process id in a temporary name, or None for any other name."""
    match = _TEMPORARY.fullmatch(name)
    return (match["name"], int(match["pid"])) if match else None


def parse_retired(name: str) -> str | None:
    """The checkpoint that a retirement mark names, or None for any other name."""
    match = _RETIRED.fullmatch(name)
    return match["name"] if match else None
