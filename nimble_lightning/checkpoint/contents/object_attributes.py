"""What has changed in the attributes of objects, to be restored in another process.

The other process has made the same objects in the same way.

Saved is what changed and nothing else: what both processes make alike, however large, is referred to by its
path. So a list that is still the same list is filled in place, and whoever else holds it sees it.
"""

from __future__ import annotations

import io
import random
import types
import weakref
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nimble_lightning.checkpoint.contents.fingerprints import digest, token
from nimble_lightning.checkpoint.contents.plain_values import ValueReader, ValueWriter
from nimble_lightning.checkpoint.contents.value_kinds import GENERATORS, KINDS, Kind, Unsavable
from nimble_lightning.ops.object_members import attributes, is_users, reachable
from nimble_lightning.ops.secrets import known

_GONE = object()
# Within one another, where data is read from, they are the data.
_ROWS = (list, tuple, dict, Tensor, np.ndarray)


class Attributes:
    """Objects, their attributes, and all that is reached through these.

    Args:
        roots: The objects, by the name that messages call them.
        elsewhere: Ids of what is saved by others: it is referred to, never saved.
        without: For the roots, names that are nobody's state.
        aside: Ids of objects of which only random generators are saved, also of those within them; what else
            changes there is named.
    """

    def __init__(
        self,
        roots: Mapping[str, Any],
        *,
        elsewhere: Collection[int] = (),
        without: Collection[str] = (),
        aside: Collection[int] = (),
    ) -> None:
        self._roots = roots
        self._without = without
        self._things: dict[str, Callable[[], Any]] = {}
        self._places: dict[int, str] = {}
        self._aside: set[str] = set()
        self._contents: dict[str, bytes] = {}
        self._slots: dict[str, dict[str, bytes]] = {}
        self._moving: list[str] = []
        self.not_kept: dict[str, str] = {}
        """What changed and cannot be put back, by path, with what it is, as of the last `state`."""
        self.not_kept_aside: dict[str, str] = {}
        """The same for what is aside."""
        rows: set[int] = set()
        for path, thing, owner in self._found(elsewhere):
            self._things[path] = _held(thing)
            self._places[id(thing)] = path
            if id(thing) in aside or owner in self._aside:
                self._aside.add(path)
                if type(thing) in _ROWS and type(self._thing(owner or path)) in _ROWS:
                    rows.add(id(thing))
        # Only now is it known of everything whether both processes have it.
        for path in self._things:
            thing = self._thing(path)
            if thing is _GONE:
                continue
            if id(thing) in rows:
                continue
            content = None if id(thing) in elsewhere else _content(thing)
            if content is not None:
                self._contents[path] = self._print(thing, content)
            elif path in roots or (id(thing) not in elsewhere and is_users(thing)):
                names = self._names(path, thing)
                self._slots[path] = {name: self._print_value(value) for name, value in names.items()}
            elif hasattr(type(thing), "__next__") and not issubclass(type(thing), io.IOBase):
                self._moving.append(path)

    def state(self) -> dict[str, Any]:
        """What changed since, as plain values; tensors share their memory with those they are of."""
        self.not_kept = {path: type(self._thing(path)).__name__ for path in self._moving}
        self.not_kept_aside = {}
        writer = ValueWriter(self._place, known())
        contents = {}
        for path, before in self._contents.items():
            thing = self._thing(path)
            content = _content(thing)
            if thing is _GONE or content is None or self._print(thing, content) == before:
                continue
            if path in self._aside and type(thing) not in GENERATORS:
                self.not_kept_aside[path] = type(thing).__name__
                continue
            with _Attempt(writer) as attempt:
                contents[path] = content(writer.write)
            if attempt.refused:
                self.not_kept[path] = _described(thing, attempt.refused)
        changed = {path: found for path in self._slots if (found := self._changed(path, writer))}
        return {"contents": contents, "attributes": changed, "new": writer.new}

    def restore(self, state: Mapping[str, Any]) -> list[str]:
        """Put back what `state` gave in another process; returns the paths that lead to nothing here."""
        reader = ValueReader(state["new"], self._at)
        lost = []
        for path, content in state["contents"].items():
            try:
                _fill(self._at(path), content, reader)
            except LookupError:
                lost.append(path)
        for path, changed in state["attributes"].items():
            for name, written in changed["set"].items():
                try:
                    _set(self._at(path), name, reader.read(written))
                except LookupError:
                    lost.append(f"{path}.{name}")
            for name in changed["gone"]:
                _set(self._at(path), name, _GONE)
        return lost

    # --- what there is
    # --------------------------------------------------------------------------------------------------

    def _found(self, elsewhere: Collection[int]) -> Iterator[tuple[str, Any, str | None]]:
        """Everything, each with its path and the path of what it was found in; root after root."""
        known = {id(root) for root in self._roots.values()}
        closed = lambda thing: id(thing) in known or _tells_its_state(thing)  # noqa: E731
        for path, root in self._roots.items():
            yield path, root, None
            if _tells_its_state(root) and id(root) not in elsewhere:
                continue
            below = [(f"{path}.{name}", value) for name, value in self._names(path, root).items()]
            for kind in ("_modules", "_parameters", "_buffers") if isinstance(root, torch.nn.Module) else ():
                below += [(f"{path}.{name}", part) for name, part in vars(root)[kind].items()]
            for place, thing, owner in list(reachable(below, closed=closed)):
                if id(thing) not in known:
                    known.add(id(thing))
                    yield place, thing, owner or path

    def _names(self, path: str, thing: Any) -> dict[str, Any]:
        found = attributes(thing)
        if path in self._roots:
            return {name: value for name, value in found.items() if name not in self._without}
        return found

    def _thing(self, path: str) -> Any:
        thing = self._things[path]()
        return _GONE if thing is None else thing

    def _at(self, path: str) -> Any:
        if path not in self._things or (thing := self._thing(path)) is _GONE:
            raise LookupError(path)
        return thing

    def _place(self, thing: Any) -> str | None:
        path = self._places.get(id(thing))
        # An id may have come to something else.
        return path if path is not None and self._thing(path) is thing else None

    # --- what is other than it was
    # --------------------------------------------------------------------------------------------------

    def _changed(self, path: str, writer: ValueWriter) -> dict[str, Any]:
        thing = self._thing(path)
        if thing is _GONE:
            return {}
        before, now = self._slots[path], self._names(path, thing)
        other = {name: value for name, value in now.items() if self._print_value(value) != before.get(name)}
        if path in self._aside:
            self.not_kept_aside |= {f"{path}.{name}": type(value).__name__ for name, value in other.items()}
            return {}
        written, refused = {}, {}
        for name, value in other.items():
            with _Attempt(writer) as attempt:
                written[name] = writer.write(value)
            if attempt.refused:
                refused[f"{path}.{name}"] = _described(value, attempt.refused)
        self.not_kept |= refused
        if refused and path not in self._roots:
            # Half of what an object has noted may contradict the other half.
            self.not_kept |= {f"{path}.{name}": type(other[name]).__name__ for name in written}
            return {}
        gone = [name for name in before if name not in now]
        return {"set": written, "gone": gone} if written or gone else {}

    def _print(self, thing: Any, content: Callable[..., Any]) -> bytes:
        """A fingerprint of a content."""
        if (cheap := token(thing)) is not None:
            return digest(cheap)
        writer = ValueWriter(self._place)
        try:
            return digest([content(writer.write), writer.new])
        except Unsavable:
            return digest([type(thing).__name__, *(id(part) for part in _parts(thing))])

    def _print_value(self, value: Any) -> bytes:
        writer = ValueWriter(self._place)
        try:
            return digest([writer.write(value), writer.new])
        except Unsavable:
            return digest(["id", id(value)])


class _Attempt:
    """A block that may find that something cannot be written; then what it had begun to write is dropped."""

    def __init__(self, writer: ValueWriter) -> None:
        self._writer = writer
        self.refused = ""

    def __enter__(self) -> _Attempt:
        self._begun = self._writer.mark()
        return self

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> bool:
        if isinstance(error, Unsavable):
            self.refused = str(error)
            self._writer.back_to(self._begun)
            return True
        return False


def _held(thing: Any) -> Callable[[], Any]:
    """A way to the thing, which does not keep large ones alive that nobody else needs any more."""
    if issubclass(type(thing), Tensor | np.ndarray):
        return weakref.ref(thing)
    return lambda: thing


def _content(thing: Any) -> Callable[[Callable[[Any], Any]], Any] | None:
    """What writes its content, if that can change in place and can be put back."""
    if (kind := _kind(thing)) is not None:
        exact = type(thing) in KINDS or issubclass(type(thing), dict | list | set | deque)
        return (lambda write: kind.content(thing, write)) if exact and not _is_global(thing) else None
    if _tells_its_state(thing):
        # By value: it may give the same objects each time.
        return lambda write: write(thing.state_dict())
    return None


def _fill(thing: Any, content: Any, reader: ValueReader) -> None:
    if (kind := _kind(thing)) is not None:
        kind.fill(thing, content, reader.read)
    elif _tells_its_state(thing):
        thing.load_state_dict(reader.read(content))
    else:
        raise LookupError(type(thing).__name__)


def _kind(thing: Any) -> Kind | None:
    exact = KINDS.get(type(thing))
    return exact or next((KINDS[base] for base in type(thing).__mro__ if base in KINDS), None)


def _tells_its_state(thing: Any) -> bool:
    kind = type(thing)
    tell, take = getattr(kind, "state_dict", None), getattr(kind, "load_state_dict", None)
    # Lightning calls the hooks of its own classes.
    lightning = str(getattr(tell, "__module__", "")).startswith("lightning.")
    return callable(tell) and callable(take) and not lightning and not issubclass(kind, torch.nn.Module)


def _is_global(thing: Any) -> bool:
    """Whether it is one of the generators that belong to everybody, which are looked after already."""
    owned: list[Any] = [random._inst, np.random.mtrand._rand, torch.default_generator]
    return any(thing is one for one in owned) or type(thing) is random.SystemRandom


def _set(thing: Any, name: str, value: Any) -> None:
    try:
        names = object.__getattribute__(thing, "__dict__")
    except AttributeError:
        names = {}
    slot = next((base.__dict__[name] for base in type(thing).__mro__ if name in base.__dict__), None)
    if value is _GONE:
        names.pop(name, None)
    elif isinstance(slot, types.MemberDescriptorType):
        slot.__set__(thing, value)
    else:
        names[name] = value


def _parts(thing: Any) -> list[Any]:
    if isinstance(thing, dict):
        return [part for pair in dict.items(thing) for part in pair]
    return list(thing) if isinstance(thing, list | tuple | set | frozenset | deque) else []


def _described(thing: Any, refused: str) -> str:
    kind = type(thing).__name__
    return kind if kind == refused else f"{kind} of {refused}"
