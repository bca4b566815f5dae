"""What the types of settings are made of, and how a section is read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypeAlias, TypeVar

# Narrower than Python can say: the check of the command line knows these names, and refuses what is below.
Positive: TypeAlias = int  # at least 1
Natural: TypeAlias = int  # at least 0
# What is made of a class by its `_target_`, or several of them by name. It goes there as it stands.
Block: TypeAlias = Mapping[str, Any] | None

_T = TypeVar("_T")


def target_of(block: Block) -> str:
    """The class that a block is made of; empty where it names none."""
    return str((block or {}).get("_target_") or "")


def read(kind: type[_T], given: Mapping[str, Any] | None) -> _T:
    """A section as it is given; what is left out is as shipped, and what it does not know is not read."""
    given = given or {}
    return kind(**{f.name: given[f.name] for f in fields(kind) if f.name in given})  # type: ignore[arg-type]
