"""Files that a run writes about itself: whole or as they were, and without secrets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from nimble_lightning.ops import plain_files, secrets


def write_text(path: Path, text: str) -> None:
    """Replace a file's content so that readers see the old or the new, never a part."""
    plain_files.replace(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """Like `write_text`; what is secret in it is masked."""
    write_text(path, json.dumps(secrets.redacted(value), indent=2, default=str) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """The file's content; empty where there is none or it is not whole."""
    content = plain_files.read_json(path.parent, path.name)
    return content if isinstance(content, dict) else {}
