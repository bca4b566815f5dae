"""Values as numbers, strings and tensors that `torch.load(weights_only=True)` accepts, and back again.

What can be changed in place is written once and referred to afterwards, so that two names for one list are
two names for one list when it is read. Nothing that is read runs code: of classes only named tuples and enums
are looked up, and only among those that are imported already.
"""

from __future__ import annotations

import collections
import datetime
import decimal
import enum
import random
import sys
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import torch
from torch import Tensor

_LEAVES = (type(None), bool, int, float, complex, str, torch.dtype, torch.device, torch.Size)
_FACTORIES: dict[str, Any] = {kind.__name__: kind for kind in (int, float, list, dict, set, str, deque)}
_BITS = ("PCG64", "PCG64DXSM", "MT19937", "Philox", "SFC64")
MOST_WRITTEN = 1_000_000


class Unsavable(Exception):  # noqa: N818 - no error: an answer
    """There is no plain value that says the same; the text is what it was."""


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


@dataclass(frozen=True)
class Kind:
    """How something that can be changed is written down, made anew, and given a content in place."""

    content: Callable[[Any, Callable[[Any], Any]], Any]
    make: Callable[[Any], Any]
    fill: Callable[[Any, Any, Callable[[Any], Any]], None]


# --- what cannot be changed
# ------------------------------------------------------------------------------------------------------


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


# --- containers
# ------------------------------------------------------------------------------------------------------


def _items(value: Any, write: Callable[[Any], Any]) -> list[Any]:
    return [write(item) for item in value]


def _pairs(value: dict[Any, Any], write: Callable[[Any], Any]) -> list[Any]:
    return [[write(key), write(item)] for key, item in _base(value).items(value)]


def _base(value: dict[Any, Any]) -> type[dict[Any, Any]]:
    """Whose methods do nothing but store; a subclass may have others."""
    return OrderedDict if issubclass(type(value), OrderedDict) else dict


def _fill_list(value: list[Any], content: Any, read: Callable[[Any], Any]) -> None:
    value[:] = map(read, content)


def _fill_dict(value: dict[Any, Any], content: Any, read: Callable[[Any], Any]) -> None:
    items = {read(key): read(item) for key, item in content}
    _base(value).clear(value)
    _base(value).update(value, items)


def _fill_set(value: set[Any], content: Any, read: Callable[[Any], Any]) -> None:
    items = set(map(read, content))
    value.clear()
    value.update(items)


def _fill_bytes(value: bytearray, content: str, read: Callable[[Any], Any]) -> None:
    value[:] = content.encode("latin1")


def _queue(value: deque[Any], write: Callable[[Any], Any]) -> dict[str, Any]:
    return {"most": value.maxlen, "items": _items(value, write)}


def _fill_queue(value: deque[Any], content: Any, read: Callable[[Any], Any]) -> None:
    items = [read(item) for item in content["items"]]
    value.clear()
    value.extend(items)


def _defaults(value: defaultdict[Any, Any], write: Callable[[Any], Any]) -> dict[str, Any]:
    factory = value.default_factory
    name = next((name for name, kind in _FACTORIES.items() if kind is factory), "")
    return {"factory": None if factory is None else name, "items": _pairs(value, write)}


def _make_defaults(content: Any) -> defaultdict[Any, Any]:
    return defaultdict(None if content["factory"] is None else _FACTORIES[content["factory"]])


# --- numbers
# ------------------------------------------------------------------------------------------------------


def _tensor(value: Tensor, write: Callable[[Any], Any]) -> dict[str, Any]:
    if value.layout != torch.strided or value.is_quantized:
        raise Unsavable(f"{value.layout} tensor")
    data = value.detach()
    if data.untyped_storage().nbytes() > 2 * data.nbytes:
        # With a view the whole of what it shows a part of would be saved.
        data = data.clone()
    return {"data": data, "device": value.device.type, "grad": value.requires_grad and value.is_leaf}


def _make_tensor(content: Any) -> Tensor:
    device = content["device"]
    there = device == "cpu" or (device == "cuda" and torch.cuda.is_available())
    # A copy: what was loaded may be the file itself.
    made: Tensor = content["data"].clone().to(device if there else "cpu")
    return made.requires_grad_(content["grad"])


def _fill_tensor(value: Tensor, content: Any, read: Callable[[Any], Any]) -> None:
    data = content["data"]
    with torch.no_grad():
        if value.shape == data.shape and value.dtype == data.dtype:
            value.copy_(data)
        else:
            value.data = data.clone().to(value.device)


def _array(value: np.ndarray, write: Callable[[Any], Any]) -> dict[str, Any]:
    if value.dtype.hasobject or value.dtype.kind == "V":
        raise Unsavable(f"array of {value.dtype}")
    plain = np.ascontiguousarray(value)
    if not plain.flags.writeable:
        plain = plain.copy()
    return {
        "data": torch.from_numpy(plain.reshape(-1).view(np.uint8)),
        "dtype": value.dtype.str,
        "shape": value.shape,
    }


def _as_array(content: Any) -> np.ndarray:
    data: np.ndarray = content["data"].cpu().numpy().copy()
    array: np.ndarray = data.view(np.dtype(content["dtype"])).reshape(content["shape"])
    return array


def _fill_array(value: np.ndarray, content: Any, read: Callable[[Any], Any]) -> None:
    value[...] = _as_array(content)


# --- generators of random numbers
# ------------------------------------------------------------------------------------------------------


def _numpy_generator(value: np.random.Generator, write: Callable[[Any], Any]) -> Any:
    return _plain_state(value.bit_generator.state)


def _make_numpy_generator(content: Any) -> np.random.Generator:
    name = content["bit_generator"]
    if name not in _BITS:
        raise LookupError(name)
    return np.random.Generator(getattr(np.random, name)(0))


def _fill_numpy_generator(value: np.random.Generator, content: Any, read: Callable[[Any], Any]) -> None:
    value.bit_generator.state = _numpy_state(content)


def _plain_state(state: Any) -> Any:
    if isinstance(state, dict):
        return {key: _plain_state(item) for key, item in state.items()}
    if isinstance(state, np.ndarray):
        return _array(state, _plain_state)
    return state.item() if isinstance(state, np.generic) else state


def _numpy_state(content: Any) -> Any:
    if isinstance(content, dict):
        if content.keys() == {"data", "dtype", "shape"}:
            return _as_array(content)
        return {key: _numpy_state(item) for key, item in content.items()}
    return content


def _words(value: random.Random, write: Callable[[Any], Any]) -> dict[str, Any]:
    version, words, gauss = value.getstate()
    return {"version": version, "words": torch.tensor(words), "gauss": gauss}


def _fill_words(value: random.Random, content: Any, read: Callable[[Any], Any]) -> None:
    value.setstate((content["version"], tuple(content["words"].tolist()), content["gauss"]))


def _torch_generator(value: torch.Generator, write: Callable[[Any], Any]) -> dict[str, Any]:
    return {"device": value.device.type, "state": value.get_state()}


def _fill_torch_generator(value: torch.Generator, content: Any, read: Callable[[Any], Any]) -> None:
    value.set_state(content["state"].cpu())


# --- all of them
# ------------------------------------------------------------------------------------------------------

KINDS: dict[type, Kind] = {
    list: Kind(_items, lambda content: [], _fill_list),
    dict: Kind(_pairs, lambda content: {}, _fill_dict),
    OrderedDict: Kind(_pairs, lambda content: OrderedDict(), _fill_dict),
    Counter: Kind(_pairs, lambda content: Counter(), _fill_dict),
    defaultdict: Kind(
        _defaults, _make_defaults, lambda value, content, read: _fill_dict(value, content["items"], read)
    ),
    set: Kind(_items, lambda content: set(), _fill_set),
    bytearray: Kind(lambda value, write: value.decode("latin1"), lambda content: bytearray(), _fill_bytes),
    collections.deque: Kind(_queue, lambda content: deque(maxlen=content["most"]), _fill_queue),
    Tensor: Kind(_tensor, _make_tensor, _fill_tensor),
    torch.nn.Parameter: Kind(
        _tensor, lambda content: torch.nn.Parameter(_make_tensor(content)), _fill_tensor
    ),
    np.ndarray: Kind(_array, _as_array, _fill_array),
    np.random.Generator: Kind(_numpy_generator, _make_numpy_generator, _fill_numpy_generator),
    np.random.RandomState: Kind(
        lambda value, write: _plain_state(value.get_state(legacy=False)),
        lambda content: np.random.RandomState(0),
        lambda value, content, read: value.set_state(_numpy_state(content)),
    ),
    random.Random: Kind(_words, lambda content: random.Random(0), _fill_words),
    torch.Generator: Kind(
        _torch_generator, lambda content: torch.Generator(content["device"]), _fill_torch_generator
    ),
}
GENERATORS = (np.random.Generator, np.random.RandomState, random.Random, torch.Generator)
_NAMES = {kind: f"{kind.__module__}.{kind.__qualname__}" for kind in KINDS}
_TYPES = {name: kind for kind, name in _NAMES.items()}
