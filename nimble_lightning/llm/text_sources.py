"""Which texts are read in which order: sources, their blocks, and a shuffle that is done again anywhere."""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from glob import glob
from itertools import accumulate, count
from pathlib import Path
from typing import Any, NamedTuple

from nimble_lightning.data.placed_stream import StreamOrder
from nimble_lightning.data.rng import stable_hash
from nimble_lightning.data.sample_order import permutation
from nimble_lightning.errors import RequestError
from nimble_lightning.llm.text_files import (
    DocumentUnit,
    JsonLines,
    ParquetTexts,
    TextFile,
    TextLines,
    Unreadable,
    WholeText,
)

# The texts of so many blocks are shuffled together.
_TOGETHER = 16
_KEYS = ("path", "weight")
_SUFFIXES = (".txt", ".jsonl", ".parquet")
_ENDS = 4096


class Cursor(NamedTuple):
    """A text of a source: how often the source was gone through, the group of blocks, the text in that."""

    passed: int = 0
    group: int = 0
    text: int = 0


@dataclass(frozen=True)
class TextReading:
    """How files are read.

    Attributes:
        field: What a text is called in a row.
        document: What of a .txt file is a document.
        unreadable: What becomes of a text that is none.
    """

    field: str = "text"
    document: DocumentUnit = "file"
    unreadable: Unreadable = "refuse"

    def open(self, path: Path) -> TextFile:
        """A file by its ending."""
        kinds: dict[str, type[TextFile]] = {".jsonl": JsonLines, ".parquet": ParquetTexts}
        plain = WholeText if self.document == "file" else TextLines
        return kinds.get(path.suffix, plain)(path, self.field, self.unreadable)


class TextSource:
    """Files that are read as one.

    Args:
        files: Them.
        weight: The share of tokens that are from here, beside the weights of other sources.
    """

    def __init__(self, files: Sequence[TextFile], weight: float = 1.0) -> None:
        self.files = list(files)
        self.weight = weight
        self._ends = list(accumulate(file.blocks for file in self.files))

    @property
    def blocks(self) -> int:
        return self._ends[-1]

    @property
    def size(self) -> int:
        """In bytes, as they lie on the disk."""
        return sum(file.size for file in self.files)

    def texts(
        self, order: StreamOrder, keep: Callable[[str], bool], start: Cursor
    ) -> Iterator[tuple[Cursor, str]]:
        """The texts from a cursor on, over and over again, in a new order each time.

        Blocks are shuffled, then the texts of so many of them: a place is found again by reading these.
        """
        for passed in count(start.passed):
            seen = False
            blocks = self._order(order, passed)
            first = start.group if passed == start.passed else 0
            for number in range(first, -(-self.blocks // _TOGETHER)):
                group = self._group(order, passed, number, blocks)
                skipped = start.text if (passed, number) == start[:2] else 0
                for at in range(skipped, len(group)):
                    if keep(group[at]):
                        seen = True
                        yield Cursor(passed, number, at), group[at]
            if not seen and not any(start if passed == start.passed else ()):
                # Of data to evaluate on there may be none; whoever trains asks for more.
                return

    def _order(self, order: StreamOrder, passed: int) -> Any:
        if not order.shuffle:
            return range(self.blocks)
        return permutation(stable_hash("blocks", order.seed, passed), order.epoch, self.blocks).tolist()

    def _group(self, order: StreamOrder, passed: int, number: int, blocks: Sequence[int]) -> list[str]:
        chosen = blocks[number * _TOGETHER : (number + 1) * _TOGETHER]
        found = [text for block in chosen for text in self._block(block)]
        if not order.shuffle:
            return found
        keys = stable_hash("texts", order.seed, passed, number)
        return [found[at] for at in permutation(keys, order.epoch, len(found)).tolist()]

    def _block(self, block: int) -> list[str]:
        file = bisect_right(self._ends, block)
        return self.files[file].texts(block - (self._ends[file - 1] if file else 0))


def text_sources(data: Any, reading: TextReading) -> list[TextSource]:
    """The sources that `data` names: one of all its files, or where weights are given one for each entry.

    Raises:
        RequestError: One is not there, or not said as expected.
    """
    entries = data if isinstance(data, Sequence) and not isinstance(data, str) else [data]
    told = [dict(entry) if isinstance(entry, Mapping) else {"path": entry} for entry in entries]
    if not told:
        raise RequestError("data=[] names nothing to read")
    for entry in told:
        _require(entry)
    weighed = [entry for entry in told if "weight" in entry]
    if weighed and len(weighed) < len(told):
        bare = next(entry["path"] for entry in told if "weight" not in entry)
        raise RequestError(f"data: {bare} has no weight, and others have; give each one, or none")
    opened = [[reading.open(path) for path in _files(str(entry["path"]))] for entry in told]
    for file in (file for files in opened for file in files):
        file.check()
    if not weighed:
        return [TextSource([file for files in opened for file in files])]
    return [TextSource(files, float(entry["weight"])) for files, entry in zip(opened, told, strict=True)]


def digest(sources: Sequence[TextSource], *more: str) -> str:
    """Of what a place in these sources depends on: names, sizes, both ends of each file, weights."""
    hashed = hashlib.blake2b(repr(more).encode(), digest_size=16)
    for source in sources:
        hashed.update(repr((source.weight, len(source.files))).encode())
        for file in source.files:
            hashed.update(repr((file.path.name, file.size, type(file).__name__)).encode())
            with open(file.path, "rb") as content:
                hashed.update(content.read(_ENDS))
                content.seek(max(0, file.size - _ENDS))
                hashed.update(content.read(_ENDS))
    return hashed.hexdigest()


def held_out(text: str, share: float) -> bool:
    """Whether a text is among the share that is never trained on: by its content, wherever it stands."""
    number = int.from_bytes(
        hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=8).digest(), "big"
    )
    return number < share * 2**64


def _require(entry: Mapping[str, Any]) -> None:
    if unknown := next((key for key in entry if key not in _KEYS), None):
        near = get_close_matches(str(unknown), _KEYS)
        raise RequestError(f"data has no {unknown!r}" + (f"; did you mean {near[0]}?" if near else ""))
    if not isinstance(entry.get("path"), str | Path):
        raise RequestError(f"data={dict(entry)!r}: expected a path, or {{path: FILE, weight: NUMBER}}")
    weight = entry.get("weight", 1.0)
    if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 < weight < float("inf"):
        raise RequestError(f"data: the weight of {entry['path']} is {weight!r}, expected a number above 0")


def _files(named: str) -> list[Path]:
    path = Path(named).expanduser()
    if path.is_dir():
        found = sorted(file for file in path.rglob("*") if file.suffix in _SUFFIXES and file.is_file())
        if not found:
            raise RequestError(f"data={path} holds no {', '.join(_SUFFIXES)}")
        return found
    if path.is_file():
        found = [path]
    elif not (
        found := [file for name in sorted(glob(str(path), recursive=True)) if (file := Path(name)).is_file()]
    ):
        beside = [file.name for file in path.parent.glob("*")] if path.parent.is_dir() else []
        near = get_close_matches(path.name, beside)
        hint = f"; did you mean {path.with_name(near[0])}?" if near else ""
        raise RequestError(f"data={path}: there is no such file{hint}")
    if other := next((file for file in found if file.suffix not in _SUFFIXES), None):
        raise RequestError(f"data={other}: expected files ending in {', '.join(_SUFFIXES)}")
    return found
