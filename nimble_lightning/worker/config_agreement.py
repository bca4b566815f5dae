"""All ranks train the same job, or none does."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from nimble_lightning.errors import RequestError
from nimble_lightning.ranks import everyones

# Which keys were typed: a rank that leaves out a default asks for the same.
_WORDS = "asked"


def require_same(config: Mapping[str, Any]) -> None:
    """Compare the resolved configuration of all ranks; every rank must call this.

    One file is read by all of them, but what it refers to may differ: the environment of another machine.
    Values are compared by their digests, since they may be secrets.

    Raises:
        RequestError: They differ; the keys are named, on every rank.
    """
    mine = digests(config)
    if len(set(everyones(_digest(mine)))) > 1:
        refuse_difference(everyones(mine))


def digests(config: Mapping[str, Any]) -> dict[str, str]:
    """What can be shown of each value of a configuration, by its dotted name."""
    return {key: _digest(value) for key, value in _leaves(config) if key != _WORDS}


def refuse_difference(found: Sequence[Mapping[str, str]]) -> None:
    """Compare the digests of all ranks.

    Raises:
        RequestError: They differ.
    """
    keys = sorted(set().union(*found))
    differing = [key for key in keys if len({one.get(key) for one in found}) > 1]
    if differing:
        raise RequestError(
            f"The ranks were given different values of {', '.join(differing)}; they have to train the same. "
            "Look for references to the environment (${oc.env:...}) that differ between machines, and for "
            "different command lines."
        )


def _leaves(node: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Every value with its dotted name."""
    if isinstance(node, Mapping) and node:
        for name, value in node.items():
            yield from _leaves(value, f"{key}.{name}" if key else str(name))
    else:
        yield key, node


def _digest(value: Any) -> str:
    return hashlib.sha256(repr(value).encode()).hexdigest()
