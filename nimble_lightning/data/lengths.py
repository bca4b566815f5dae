"""How long samples are, and an order in which those of about the same length are neighbours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from nimble_lightning.data.source import is_hugging_face
from nimble_lightning.errors import TrainerError

# Long enough to find neighbours of the same length, short enough that epochs still differ.
_BATCHES_SORTED = 50
_COLUMN = "length"


def lengths_of(source: Any, name: str = "input_ids") -> list[int]:
    """The length of each sample: as its column `length` says, else that of what `name` holds.

    Raises:
        TrainerError: Samples have neither.
    """
    if is_hugging_face(source, "Dataset"):
        columns = source.column_names
        if _COLUMN in columns:
            return [int(length) for length in source[_COLUMN]]
        if name in columns:
            return [len(values) for values in source.with_format(None).select_columns([name])[:][name]]
    elif hasattr(source, "__getitem__") and hasattr(source, "__len__") and len(source):
        first = source[0]
        if isinstance(first, Mapping) and name in first:
            return [len(source[index][name]) for index in range(len(source))]
    raise TrainerError(
        f"data.group_by_length=true: samples of a {type(source).__name__} have no {name} to measure. "
        f"Give a Hugging Face dataset a column {_COLUMN!r}, or leave it out."
    )


def grouped(order: torch.Tensor, lengths: Sequence[int], batch_size: int) -> torch.Tensor:
    """The same samples, stretch by stretch from long to short, the longest of all first.

    If memory runs out it does so in the first step. As transformers groups them.
    """
    stretch = batch_size * max(1, min(len(lengths) // (batch_size * 4), _BATCHES_SORTED))
    whole = torch.as_tensor(lengths, dtype=torch.int64)[order]
    stretches = [
        part[torch.argsort(known, descending=True, stable=True)]
        for part, known in zip(order.split(stretch), whole.split(stretch), strict=True)
    ]
    found = torch.cat(stretches)
    firsts = torch.arange(0, len(order), stretch)
    longest = firsts[torch.tensor([lengths[index] for index in found[firsts].tolist()]).argmax()]
    found[[0, int(longest)]] = found[[int(longest), 0]]
    return found
