"""All ranks train the same job, or none does."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

import lightning as L
from typing_extensions import override

from nimble_lightning.errors import RequestError
from nimble_lightning.ranks import everyones


class Agreement(L.Callback):
    """Compares the resolved configuration of all ranks before anything is trained.

    One file is read by all of them, but what it refers to may differ: the environment of another machine.
    Values are compared by their digests, since they may be secrets.

    Args:
        config: As this rank resolved it.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._digests = {key: _digest(value) for key, value in _leaves(config)}

    @override
    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        if stage == "fit" and len(set(everyones(_digest(self._digests)))) > 1:
            # Whether to ask on is known to all ranks alike.
            all_digests = everyones(self._digests)
            keys = sorted(set().union(*all_digests))
            differing = [key for key in keys if len({digests.get(key) for digests in all_digests}) > 1]
            raise RequestError(
                f"The ranks were given different values of {', '.join(differing)}; they have to train the "
                "same. Look for references to the environment (${oc.env:...}) that differ between machines."
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
