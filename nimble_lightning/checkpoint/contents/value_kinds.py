"""Values that can change: how each kind is written down, made anew, and given a content in place."""

from __future__ import annotations

import collections
import random
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

_FACTORIES: dict[str, Any] = {kind.__name__: kind for kind in (int, float, list, dict, set, str, deque)}
_BITS = ("PCG64", "PCG64DXSM", "MT19937", "Philox", "SFC64")


class Unsavable(Exception):  # noqa: N818 - no error: an answer
    """There is no plain value that says the same; the text is what it was."""


@dataclass(frozen=True)
class Kind:
    """How something that can be changed is written down, made anew, and given a content in place."""

    content: Callable[[Any, Callable[[Any], Any]], Any]
    make: Callable[[Any], Any]
    fill: Callable[[Any, Any, Callable[[Any], Any]], None]


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
