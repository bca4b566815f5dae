"""export.json: what the files beside it are, how to make the model again, and how they were checked."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

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
    try:
        content = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) and content.get("schema") == SCHEMA else {}


def merged(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """Two descriptions of the same folder as one, where both are of the same weights."""
    same = old.get("run") == new.get("run")
    return {**new, **{k: {**(old.get(k, {}) if same else {}), **new[k]} for k in ("checks", "files")}}


def altered(folder: Path) -> list[str]:
    """The files that are missing or not what they were when they were checked."""
    files: Mapping[str, Any] = read(folder).get("files", {})
    return [name for name, entry in files.items() if not _same(folder / name, entry)]


def sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _same(path: Path, entry: Mapping[str, Any]) -> bool:
    return path.is_file() and path.stat().st_size == entry["bytes"] and sha256(path) == entry["sha256"]
