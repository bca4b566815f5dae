"""Files of texts, read in blocks whose borders follow from the size of a file alone: nothing is indexed."""

from __future__ import annotations

import json
import logging
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from nimble_lightning.errors import RequestError

log = logging.getLogger(__name__)

DocumentUnit = Literal["file", "line"]
Unreadable = Literal["refuse", "skip"]

BLOCK = 1 << 20
# Of one text: it is in memory as a whole, and tokens take many times its size while they are made.
LONGEST = 16 << 20
_TOLD = 3


class TextFile(ABC):
    """A file of texts.

    Args:
        path: Of the file.
        field: What a text is called in a row.
        unreadable: What becomes of a text that is none.

    Attributes:
        blocks: How many parts it is read in.
    """

    blocks: int

    def __init__(self, path: Path, field: str, unreadable: Unreadable) -> None:
        self.path = path
        self._field = field
        self._skip = unreadable == "skip"
        self._told = 0
        self.size = path.stat().st_size
        if not self.size:
            raise RequestError(f"data={path} is empty")

    def texts(self, block: int) -> list[str]:
        """Those that begin in a block, in their order.

        Raises:
            RequestError: One is none, with its file and line.
        """
        found = []
        for at, raw in self._raw(block):
            try:
                found.append(self._text(raw))
            except _NoText as error:
                self._refuse(at, error)
        return found

    def check(self) -> None:
        """Read the first text, so that a wrong format is refused before anything else is done.

        Raises:
            RequestError: It is none.
        """
        for at, raw in self._raw(0):
            try:
                self._text(raw)
                return
            except _NoText as error:
                self._refuse(at, error)

    @abstractmethod
    def _raw(self, block: int) -> Iterator[tuple[int, Any]]:
        """What is to be a text, and where it is: a byte, or a row."""

    @abstractmethod
    def _text(self, raw: Any) -> str: ...

    def _line(self, at: int) -> int:
        """The line in which this byte is; looked for only when somebody has to be told."""
        with open(self.path, "rb") as file:
            lines, left = 1, at
            while left and (part := file.read(min(left, BLOCK))):
                lines += part.count(b"\n")
                left -= len(part)
        return lines

    def _refuse(self, at: int, error: _NoText) -> None:
        if self._skip and self._told >= _TOLD:
            return
        place = f"{self.path}:{self._line(at)}"
        if not self._skip:
            raise RequestError(f"{place}: {error}\nparams.unreadable=skip leaves such texts out") from None
        self._told += 1
        more = "; no more of this file are told" if self._told == _TOLD else ""
        log.warning("left out: %s: %s%s", place, error, more)


class TextLines(TextFile):
    """A file in which each line is a text; empty lines are none."""

    def __init__(self, path: Path, field: str, unreadable: Unreadable) -> None:
        super().__init__(path, field, unreadable)
        self.blocks = -(-self.size // BLOCK)

    def _raw(self, block: int) -> Iterator[tuple[int, bytes]]:
        begin, end = block * BLOCK, (block + 1) * BLOCK
        with open(self.path, "rb") as file:
            if begin:
                # A line belongs to the block in which it begins.
                file.seek(begin - 1)
                file.readline()
            at = file.tell()
            while at < end and (line := file.readline()):
                if stripped := line.strip():
                    yield at, stripped
                at += len(line)

    def _text(self, raw: bytes) -> str:
        return _decoded(raw)


class JsonLines(TextLines):
    """A file in which each line is an object with a text."""

    def _text(self, raw: bytes) -> str:
        line = _decoded(raw)
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise _NoText(f"not JSON: {error}") from None
        if not isinstance(row, dict):
            raise _NoText(f"a {type(row).__name__}, expected an object with {self._field!r}")
        return _of_row(row, self._field)


class WholeText(TextFile):
    """A file that is one text."""

    blocks = 1

    def _raw(self, block: int) -> Iterator[tuple[int, bytes]]:
        if self.size > LONGEST:
            raise RequestError(
                f"data={self.path} has {self.size / 2**20:,.0f} MiB, and a .txt file is one document of "
                f"up to {LONGEST >> 20}\nparams.document=line makes each line one; JSON lines hold any texts"
            )
        yield 0, self.path.read_bytes()

    def _text(self, raw: bytes) -> str:
        return _decoded(raw)

    def _line(self, at: int) -> int:
        return 1


class ParquetTexts(TextFile):
    """A parquet file with a column of texts; its row groups are the blocks."""

    def __init__(self, path: Path, field: str, unreadable: Unreadable) -> None:
        super().__init__(path, field, unreadable)
        with self._opened() as file:
            self.blocks, names = file.num_row_groups, file.schema_arrow.names
        if field not in names:
            raise RequestError(
                f"data={path} has no column {field!r}, it has {', '.join(names)}\nGive params.field=NAME"
            )

    def _opened(self) -> Any:
        """Each time anew: an open file would be shared with the processes that are forked from this one."""
        import pyarrow.lib
        import pyarrow.parquet as pq

        try:
            return pq.ParquetFile(self.path)
        except (pyarrow.lib.ArrowInvalid, OSError) as error:
            raise RequestError(f"data={self.path} cannot be read as parquet: {error}") from None

    def _raw(self, block: int) -> Iterator[tuple[int, Any]]:
        with self._opened() as file:
            first = sum(file.metadata.row_group(number).num_rows for number in range(block))
            # Threads of this process are none of one that was forked from it.
            group = file.read_row_group(block, columns=[self._field], use_threads=False)
        yield from enumerate(group.column(0).to_pylist(), first)

    def _text(self, raw: Any) -> str:
        return _of_row({self._field: raw}, self._field)

    def _line(self, at: int) -> int:
        return at + 1


class _NoText(Exception):
    """Why something is no text."""


def _decoded(raw: bytes) -> str:
    if len(raw) > LONGEST:
        raise _NoText(f"{len(raw) / 2**20:,.0f} MiB in one text, expected up to {LONGEST >> 20}")
    if b"\0" in raw:
        raise _NoText("binary: it holds a byte 0")
    try:
        return _some(raw.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise _NoText(f"not UTF-8: byte {raw[error.start]:#04x} at {error.start}") from None


def _of_row(row: dict[str, Any], field: str) -> str:
    if field not in row:
        raise _NoText(f"no {field!r}, it has {', '.join(row) or 'nothing'}; params.field names another")
    text = row[field]
    if not isinstance(text, str):
        raise _NoText(f"{field!r} is a {type(text).__name__}, expected a text")
    if len(text) > LONGEST:
        raise _NoText(f"{len(text) / 2**20:,.0f} million characters in one text, expected up to 16")
    return _some(text)


def _some(text: str) -> str:
    if not text.strip():
        raise _NoText("the text is empty")
    return text
