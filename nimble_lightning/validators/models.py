"""`nl.models`: short names for models to start from or to compare with, and what is known of them."""

from __future__ import annotations

import csv
import os
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from nimble_lightning.ops.similar_names import require

_TABLE = Path(__file__).with_name("models.csv")
# In float32: a weight, its gradient and the two averages of AdamW.
_WEIGHT, _TRAINED = 4, 16


@dataclass(frozen=True)
class KnownModel:
    """A model by its short name.

    Attributes:
        name: The short one.
        place: A Hub id, or a folder.
        parameters: How many it has.
        adapter: How many a LoRA adapter of rank 16 around all its layers has; known of language models.
        context: The longest text it takes, in tokens.
        licence: Of its weights.
    """

    name: str
    place: str
    parameters: int | None = None
    adapter: int | None = None
    context: int | None = None
    licence: str = ""

    @property
    def bytes_whole(self) -> int | None:
        """What weights, gradients and AdamW take where all of it is trained; activations come on top."""
        return None if self.parameters is None else _TRAINED * self.parameters

    @property
    def bytes_adapter(self) -> int | None:
        """The same where a LoRA adapter of rank 16 is trained."""
        if self.parameters is None or self.adapter is None:
            return None
        return _WEIGHT * self.parameters + _TRAINED * self.adapter


class Models(Collection[str]):
    """Names and what they stand for; a trainer's file may add its own.

    Example::

        nl.models.add("ours-2025", "/models/ours-2025")
        nl.models.get("bert-tiny")          # "prajjwal1/bert-tiny"
        nl.models.about("qwen3-0.6b")       # how large it is, its licence, what training it takes
    """

    def __init__(self, known: Iterable[KnownModel]) -> None:
        self._known = {model.name: model for model in known}

    def add(self, name: str, place: str | os.PathLike[str]) -> None:
        """Let a name stand for a Hub id or a folder."""
        self._known[name] = KnownModel(name, os.fspath(place))

    def get(self, name: str) -> str:
        """What a name stands for; a RequestError tells the nearest one there is."""
        return self.about(name).place

    def about(self, name: str) -> KnownModel:
        """What is known of it; a RequestError tells the nearest one there is."""
        require("model", [name], self._known)
        return self._known[name]

    def resolve(self, reference: str) -> str:
        """What a name stands for; anything else, such as a path, stays what it is."""
        return self._known[reference].place if reference in self._known else reference

    def __contains__(self, name: object) -> bool:
        return name in self._known

    def __iter__(self) -> Iterator[str]:
        return iter(self._known)

    def __len__(self) -> int:
        return len(self._known)


def shipped() -> Iterator[KnownModel]:
    """Those of the table beside this file."""
    with open(_TABLE, encoding="utf-8", newline="") as table:
        for row in csv.DictReader(table):
            size, adapter, context = (
                int(row[key]) if row[key] else None for key in ("parameters", "adapter", "context")
            )
            yield KnownModel(row["name"], row["place"], size, adapter, context, row["licence"])


models = Models(shipped())
