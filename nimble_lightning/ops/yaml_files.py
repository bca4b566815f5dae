"""YAML as the runs' own configuration is read: `1e-8` is a number."""

from __future__ import annotations

import re
from typing import Any

import yaml

_FLOAT = re.compile(r"[-+]?(?:\d[\d_]*)?\.?\d+[eE][-+]?\d+$")
# Nobody writes as much into a configuration; an alias makes it of a few lines.
_MOST_VALUES = 200_000
_DEEPEST = 100


# The same in C, where PyYAML was built with it: a page reads a hundred small files.
class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """YAML 1.1, which PyYAML keeps to, wants a point in every fraction."""

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Merge nothing: no configuration is written so, and ten lines of it would take all memory."""


_Loader.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+0123456789."))


def load(text: str) -> Any:
    """The content of a YAML document; nothing in it is executed.

    Raises:
        ValueError: It is not YAML, or more of it than a configuration can be.
    """
    try:
        _refuse_deep(text)
        content = yaml.load(text, Loader=_Loader)
        _count(content, {})
    except (yaml.YAMLError, RecursionError, TypeError, OverflowError) as error:
        raise ValueError(str(error)) from None
    return content


def _refuse_deep(text: str) -> None:
    """Before it is put together: that recurses in C, and one that is too deep takes the process with it."""
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEEPEST:
            raise ValueError(
                f"there is more in it than a configuration holds: {_DEEPEST} values in each other"
            )


def _count(value: Any, known: dict[int, int]) -> int:
    """How many values it is with every alias written out."""
    if not isinstance(value, dict | list):
        return 1
    if id(value) not in known:
        # Until it is known: whatever contains itself has no end.
        known[id(value)] = _MOST_VALUES
        inner = value.values() if isinstance(value, dict) else value
        known[id(value)] = 1 + sum(_count(each, known) for each in inner)
    if known[id(value)] > _MOST_VALUES:
        raise ValueError("there is more in it than a configuration holds")
    return known[id(value)]


def first_of_more(value: Any, key: str) -> str | None:
    """The key of the first setting that is more than a plain value: a reference, or the name of code."""
    if isinstance(value, dict):
        if "_target_" in value:
            return f"{key}._target_"
        found = (first_of_more(each, f"{key}.{name}") for name, each in value.items())
        return next(filter(None, found), None)
    if isinstance(value, list):
        return next(filter(None, (first_of_more(each, key) for each in value)), None)
    return key if isinstance(value, str) and "${" in value else None
