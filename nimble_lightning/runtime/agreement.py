"""All ranks train the same job, or none does."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

from nimble_lightning.errors import RequestError
from nimble_lightning.ranks import everyones


def require_same(config: Mapping[str, Any]) -> None:
    """Compare the resolved configuration of all ranks; every rank must call this.

    One file is read by all of them, but what it refers to may differ: the environment of another machine.
    Values are compared by their digests, since they may be secrets.

    Raises:
        RequestError: They differ; the keys are named, on every rank.
    """
    own = digests(config)
    if len(set(everyones(_digest(own)))) == 1:
        return
    all_digests = everyones(own)
    keys = sorted(set().union(*all_digests))
    differing = [key for key in keys if len({found.get(key) for found in all_digests}) > 1]
    raise RequestError(
        f"The ranks were given different values of {', '.join(differing)}; they have to train the same. "
        "Look for references to the environment (${oc.env:...}) that differ between machines."
    )


def digests(config: Mapping[str, Any]) -> dict[str, str]:
    """A digest of every value, by its dotted name."""
    return {key: _digest(value) for key, value in _leaves(config)}


def _leaves(node: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Every value with its dotted name."""
    if isinstance(node, Mapping) and node:
        for name, value in node.items():
            yield from _leaves(value, f"{key}.{name}" if key else str(name))
    else:
        yield key, node


def _digest(value: Any) -> str:
    return hashlib.sha256(repr(value).encode()).hexdigest()
