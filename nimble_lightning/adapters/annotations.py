"""Settings arrive as text, numbers and lists; a parameter annotated as a path, enum or tuple gets one."""

from __future__ import annotations

import enum
import types
import typing
from collections.abc import Callable, Mapping
from pathlib import Path, PurePath
from typing import Any, Union

from nimble_lightning.errors import RequestError


def as_annotated(method: Callable[..., Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """The values in the types that the method's annotations ask for; what they do not name stays as it is."""
    try:
        hints = typing.get_type_hints(method)
    except (NameError, TypeError):
        # Annotations of things imported for type checkers only.
        return dict(values)
    return {name: _convert(name, value, hints.get(name)) for name, value in values.items()}


def _convert(name: str, value: Any, wanted: Any) -> Any:
    origin = typing.get_origin(wanted)
    if value is None or wanted is None:
        return value
    if origin in (Union, types.UnionType):
        kinds = [kind for kind in typing.get_args(wanted) if kind is not type(None)]
        return _convert(name, value, kinds[0]) if len(kinds) == 1 else value
    if (origin or wanted) is tuple and isinstance(value, list):
        return tuple(value)
    if isinstance(wanted, type) and isinstance(value, str):
        if issubclass(wanted, PurePath):
            return Path(value).expanduser()
        if issubclass(wanted, enum.Enum):
            return _member(name, value, wanted)
    return value


def _member(name: str, value: str, wanted: type[enum.Enum]) -> enum.Enum:
    for member in wanted:
        if value in (member.name, member.value, str(member)):
            return member
    raise RequestError(f"params.{name}={value!r}: expected one of {', '.join(m.name for m in wanted)}.")
