"""Lightning has two import names, `lightning.pytorch` and `pytorch_lightning`, each with classes of its own.

This is the one place that knows of both. It imports neither: who uses one never pays for the other.
"""

from __future__ import annotations

import functools
import importlib
import sys
from typing import Any, TypeVar

_PACKAGES = ("lightning.pytorch", "pytorch_lightning")
_OTHER = "pytorch_lightning"
_TWINS = {"lightning.pytorch": _OTHER, "lightning.fabric": "lightning_fabric"}
_C = TypeVar("_C", bound=type[Any])


def like(thing: Any, path: str) -> Any:
    """The class of that path in the package that a trainer, a module or their class belongs to.

    Args:
        thing: Anything of Lightning's, or derived from it.
        path: Below the package: `callbacks.ModelCheckpoint`.
    """
    kind = thing if isinstance(thing, type) else type(thing)
    names = [f"{base.__module__}." for base in kind.__mro__]
    found = (package for name in names for package in _PACKAGES if name.startswith(f"{package}."))
    return _named(next(found, "lightning.pytorch"), path)


def either(path: str) -> Any:
    """The classes of that path in the packages that have been imported; for `isinstance`."""
    return tuple(_named(package, path) for package in _PACKAGES if package in sys.modules)


def serves_both(cls: _C) -> _C:
    """Let a class that derives from one of `lightning`'s be one of `pytorch_lightning`'s as well.

    Trainers look for progress bars, checkpoints and plugins by their own classes. The base is added when an
    object is made, if a project has imported the package by then.
    """
    kind: Any = cls
    init = kind.__init__

    @functools.wraps(init)
    def joined(self: Any, *args: Any, **kwargs: Any) -> None:
        if _OTHER in sys.modules:
            _join(kind)
        init(self, *args, **kwargs)

    kind.__init__ = joined
    return cls


class _OneInit:
    """Keeps a base's call of `super().__init__()` from its twin."""

    def __init__(self, *_: Any, **__: Any) -> None:
        pass


def _join(cls: Any) -> None:
    twins = [twin for base in cls.__bases__ if (twin := _twin(base)) is not None]
    # Asking `issubclass` would have an abstract class remember the answer.
    if new := tuple(twin for twin in twins if twin not in cls.__mro__):
        cls.__bases__ = (*cls.__bases__, _OneInit, *new)


@functools.cache
def _twin(base: type) -> type | None:
    """The class of the same name and place in the other package."""
    for ours, theirs in _TWINS.items():
        if f"{base.__module__}.".startswith(f"{ours}."):
            module = importlib.import_module(base.__module__.replace(ours, theirs, 1))
            return getattr(module, base.__name__, None)
    return None


def _named(package: str, path: str) -> Any:
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(f"{package}.{module}" if module else package), name)
