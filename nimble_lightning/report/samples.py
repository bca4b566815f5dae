"""What `predict_and_show` yielded, made ready for the page: small things inside it, large ones beside it."""

from __future__ import annotations

import base64
import json
import mimetypes
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote

from nimble_lightning.ops import plain_files
from nimble_lightning.ops.secrets import redact, redacted
from nimble_lightning.ops.untrusted_text import printable
from nimble_lightning.run_folder import SHOW

# A page goes through the mail: what is inside it is little, and in all no more than so much.
MOST_INSIDE = 150_000
ALL_INSIDE = 900_000
_MOST_TEXT = 12_000
_MOST_ROWS = 40
_MOST_COLUMNS = 16
_MOST_CELL = 200
_MOST_SHOWN = 200


@dataclass(frozen=True)
class Sample:
    """One result.

    Attributes:
        caption: The user's words.
        kind: text, marked, table, image, audio, video, file or error.
        source: Where a browser finds it: a data address, or a path beside the page.
        text: Its words, or those of the error.
        head: Names of a table's columns.
        rows: A table's cells; of a marked text its pieces, each with what is not empty if it is marked.
        more: What was left out, in words.
        link: The whole of it, beside the page.
    """

    caption: str
    kind: str
    source: str = ""
    text: str = ""
    head: list[str] = field(default_factory=list)
    rows: list[list[str]] = field(default_factory=list)
    more: str = ""
    link: str = ""


def ready(index: Iterable[Mapping[str, Any]], show: Path) -> list[Sample]:
    """The entries of an index in its order."""
    left = ALL_INSIDE
    found = []
    for entry in list(index)[:_MOST_SHOWN]:
        sample = _sample(entry, show, left)
        left -= len(sample.source) if sample.source.startswith("data:") else 0
        found.append(sample)
    return found


def _sample(entry: Mapping[str, Any], show: Path, left: int) -> Sample:
    caption = str(entry.get("caption") or "")
    if "error" in entry:
        line = f" ({entry['line']})" if entry.get("line") else ""
        return Sample(caption, "error", text=f"{entry['error']}{line}")
    name = Path(str(entry.get("file") or "")).name
    try:
        # Whatever path an index may tell: only what lies in the folder itself.
        with plain_files.open_inside(show.parent, f"{show.name}/{name}") as file:
            return _of_file(file, caption, str(entry.get("kind")), name, left)
    except OSError:
        return Sample(caption, "error", text=f"{SHOW}/{name or '?'} is not there")


def _of_file(file: BinaryIO, caption: str, kind: str, name: str, left: int) -> Sample:
    link, size = f"{SHOW}/{quote(name)}", os.fstat(file.fileno()).st_size
    if kind in ("image", "audio", "video"):
        media = mimetypes.guess_type(name)[0]
        inside = media is not None and size * 4 // 3 + 100 <= min(left, MOST_INSIDE)
        source = f"data:{media};base64,{base64.b64encode(file.read(size)).decode()}" if inside else link
        return Sample(caption, kind, source=source, link=link)
    if kind == "table" and size <= plain_files.MOST_BYTES and (table := _table(file.read(size))) is not None:
        head, rows, more = table
        return Sample(caption, "table", head=head, rows=rows, more=more, link=link)
    if (
        kind == "marked"
        and size <= plain_files.MOST_BYTES
        and (pieces := _pieces(file.read(size))) is not None
    ):
        return Sample(caption, "marked", rows=pieces, link=link)
    if kind in ("text", "table", "marked"):
        file.seek(0)
        text = printable(redact(file.read(_MOST_TEXT).decode(errors="replace"))).rstrip("\n")
        more = "the rest is in the file" if size > _MOST_TEXT else ""
        return Sample(caption, "text", text=text, more=more, link=link)
    return Sample(caption, "file", link=link, text=name)


def _table(data: bytes) -> tuple[list[str], list[list[str]], str] | None:
    """Columns, rows and what was left out; None when it is no table."""
    try:
        content = redacted(json.loads(data))
    except (ValueError, RecursionError):
        return None
    rows: list[list[Any]]
    if isinstance(content, Mapping):
        head, rows = [], [[name, value] for name, value in content.items()]
        if content and all(isinstance(v, list) for v in content.values()) and _equally_long(content.values()):
            head, rows = list(content), [list(row) for row in zip(*content.values(), strict=True)]
    elif content and isinstance(content, list) and all(isinstance(row, Mapping) for row in content):
        head = list(dict.fromkeys(name for row in content for name in row))
        rows = [[row.get(name, "") for name in head] for row in content]
    elif isinstance(content, list):
        head, rows = [], [row if isinstance(row, list) else [row] for row in content]
    else:
        return None
    columns = max(map(len, rows), default=0)
    more = [f"{len(rows) - _MOST_ROWS:,} more rows"] if len(rows) > _MOST_ROWS else []
    more += [f"{columns - _MOST_COLUMNS:,} more columns"] if columns > _MOST_COLUMNS else []
    cells = [[_cell(value) for value in row[:_MOST_COLUMNS]] for row in rows[:_MOST_ROWS]]
    return [str(name) for name in head[:_MOST_COLUMNS]], cells, " and ".join(more)


def _pieces(data: bytes) -> list[list[str]] | None:
    """Texts, each with whether it is marked; None when it is no such list."""
    try:
        content = redacted(json.loads(data))
        pieces = [(str(text), bool(marked)) for text, marked in content]
    except (ValueError, TypeError, RecursionError):
        return None
    found, left = [], _MOST_TEXT
    for text, marked in pieces:
        found.append([printable(text[:left]), "x" * marked])
        if (left := left - len(text)) <= 0:
            break
    return found


def _equally_long(lists: Iterable[list[Any]]) -> bool:
    return len({len(values) for values in lists}) == 1


def _cell(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    text = printable(text)
    return text if len(text) <= _MOST_CELL else f"{text[:_MOST_CELL]}…"
