"""Values as numbers, strings and tensors that `torch.load(weights_only=True)` accepts, and back again.

What can be changed in place is written once and referred to afterwards, so that two names for one list are
two names for one list when it is read. Nothing that is read runs code: of classes only named tuples and enums
are looked up, and only among those that are imported already.
"""

from __future__ import annotations

import datetime
import decimal
import enum
import sys
from collections.abc import Callable, Collection
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import torch

from nimble_lightning.checkpoint.contents.value_kinds import KINDS, Unsavable

_LEAVES = (type(None), bool, int, float, complex, str, torch.dtype, torch.device, torch.Size)
_NAMES = {kind: f"{kind.__module__}.{kind.__qualname__}" for kind in KINDS}
_TYPES = {name: kind for kind, name in _NAMES.items()}
MOST_WRITTEN = 1_000_000


class ValueWriter:
    """Writes values down.

    Args:
        place: Where the reader finds a thing that it has already; None for what it has not.
        secrets: What is written nowhere.
    """

    def __init__(
        self, place: Callable[[Any], str | None] = lambda thing: None, secrets: Collection[str] = ()
    ) -> None:
        self._secrets = secrets
        self.new: list[list[Any]] = []
        self._place = place
        self._numbers: dict[int, int] = {}
        self._kept: list[Any] = []

    def write(self, value: Any) -> Any:
        kind = type(value)
        if kind is str and any(secret in value for secret in self._secrets):
            raise Unsavable("secret")
        if kind in _LEAVES:
            return value
        if kind is bytes:
            # As text: torch refuses to load bytes that are empty.
            return ["bytes", value.decode("latin1")]
        if (place := self._place(value)) is not None:
            return ["at", place]
        if (frozen := _frozen(value, self.write)) is not None:
            return frozen
        if kind not in KINDS:
            raise Unsavable(kind.__name__)
        if id(value) not in self._numbers:
            if len(self.new) >= MOST_WRITTEN:
                raise Unsavable("more than can be kept")
            number = self._numbers[id(value)] = len(self.new)
            self._kept.append(value)
            self.new.append([])
            self.new[number] = [_NAMES[kind], KINDS[kind].content(value, self.write)]
        return ["new", self._numbers[id(value)]]

    def mark(self) -> int:
        """How much has been written."""
        return len(self.new)

    def back_to(self, mark: int) -> None:
        """Forget what was written since."""
        del self.new[mark:], self._kept[mark:]
        self._numbers = {thing: number for thing, number in self._numbers.items() if number < mark}


class ValueReader:
    """Reads what a `ValueWriter` wrote.

    Args:
        new: The writer's.
        place: What it referred to by its place; raises LookupError for what is not there.
    """

    def __init__(self, new: list[list[Any]], place: Callable[[str], Any]) -> None:
        self._new = new
        self._place = place
        self._made: dict[int, Any] = {}

    def read(self, written: Any) -> Any:
        if not isinstance(written, list):
            return written
        tag, *rest = written
        if tag == "at":
            return self._place(rest[0])
        if tag == "new":
            return self._node(rest[0])
        return _THAWED[tag](self.read, *rest)

    def _node(self, number: int) -> Any:
        if number not in self._made:
            name, content = self._new[number]
            kind = KINDS[_TYPES[name]]
            # Before its content, which may refer to it.
            self._made[number] = made = kind.make(content)
            kind.fill(made, content, self.read)
        return self._made[number]


def _frozen(value: Any, write: Callable[[Any], Any]) -> list[Any] | None:
    kind = type(value)
    if kind in (tuple, frozenset):
        return [kind.__name__, [write(item) for item in value]]
    if issubclass(kind, enum.Enum):
        return ["enum", _name_of(kind), value.name]
    if issubclass(kind, tuple) and hasattr(kind, "_fields"):
        return ["named", _name_of(kind), [write(item) for item in value]]
    if issubclass(kind, np.generic) and kind is not np.void and value.nbytes and not value.dtype.hasobject:
        return ["scalar", value.dtype.str, value.tobytes()]
    if issubclass(kind, PurePath):
        return ["path", str(value)]
    if kind in (range, slice):
        return [kind.__name__, value.start, value.stop, value.step]
    if kind is datetime.timedelta:
        return ["timedelta", value.days, value.seconds, value.microseconds]
    if kind in (datetime.datetime, datetime.date, datetime.time) and getattr(value, "tzinfo", None) in (
        None,
        datetime.UTC,
    ):
        return [kind.__name__, value.isoformat()]
    if kind is decimal.Decimal:
        return ["decimal", str(value)]
    return None


_THAWED: dict[str, Callable[..., Any]] = {
    "tuple": lambda read, items: tuple(map(read, items)),
    "frozenset": lambda read, items: frozenset(map(read, items)),
    "bytes": lambda read, text: text.encode("latin1"),
    "enum": lambda read, name, member: _found(name, enum.Enum)[member],
    "named": lambda read, name, items: tuple.__new__(_found(name, tuple), list(map(read, items))),
    "scalar": lambda read, dtype, data: np.frombuffer(data, np.dtype(dtype))[0],
    "path": lambda read, text: Path(text),
    "range": lambda read, start, stop, step: range(start, stop, step),
    "slice": lambda read, start, stop, step: slice(start, stop, step),
    "timedelta": lambda read, *parts: datetime.timedelta(*parts),
    "datetime": lambda read, text: datetime.datetime.fromisoformat(text),
    "date": lambda read, text: datetime.date.fromisoformat(text),
    "time": lambda read, text: datetime.time.fromisoformat(text),
    "decimal": lambda read, text: decimal.Decimal(text),
}


def _name_of(kind: type) -> str:
    name = f"{kind.__module__}:{kind.__qualname__}"
    try:
        _found(name, kind)
    except LookupError:
        raise Unsavable(kind.__name__) from None
    return name


def _found(name: str, base: type) -> Any:
    """The class of that name, if it is imported and of that kind; nothing is imported for it."""
    module, _, path = name.partition(":")
    found: Any = sys.modules.get(module)
    for part in path.split("."):
        found = vars(found).get(part) if isinstance(found, type | type(sys)) else None
    if not isinstance(found, type) or not issubclass(found, base):
        raise LookupError(name)
    return found
