"""How many samples a batch holds, and how to cut it into pieces. Pieces are views: nothing is copied."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch


def size_of(batch: Any) -> int:
    """The number of samples: the first dimension of the first tensor found; 1 for what cannot be measured."""
    if isinstance(batch, torch.Tensor):
        return batch.shape[0] if batch.dim() else 1
    if isinstance(batch, Mapping):
        batch = list(batch.values())
    if isinstance(batch, Sequence) and not isinstance(batch, str | bytes):
        for item in batch:
            if isinstance(item, torch.Tensor | Mapping) or (
                isinstance(item, Sequence) and not isinstance(item, str | bytes)
            ):
                return size_of(item)
        return max(len(batch), 1)
    return 1


def split(batch: Any, size: int) -> Iterator[Any]:
    """Cut a batch of tensors, mappings and sequences into pieces of at most `size` samples."""
    n = size_of(batch)
    for start in range(0, n, size):
        yield _cut(batch, start, min(start + size, n), n)


def can_split(batch: Any) -> bool:
    """Whether a batch can be cut into smaller ones."""
    return isinstance(batch, torch.Tensor | Mapping | Sequence) and size_of(batch) > 1


def _cut(value: Any, start: int, stop: int, n: int) -> Any:
    if isinstance(value, torch.Tensor):
        return value[start:stop] if value.dim() and value.shape[0] == n else value
    if isinstance(value, Mapping):
        cut = {k: _cut(v, start, stop, n) for k, v in value.items()}
        return cut if type(value) is dict else type(value)(cut)  # type: ignore[call-arg]
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        if _holds_samples(value, n):
            return value[start:stop]
        parts = [_cut(v, start, stop, n) for v in value]
        if isinstance(value, tuple):
            return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
        return parts
    return value


def _holds_samples(value: Sequence[Any], n: int) -> bool:
    """A list with one entry a sample (texts, say), as opposed to one of things that each hold them all."""
    return len(value) == n and not any(_spans(v, n) for v in value)


def _spans(value: Any, n: int) -> bool:
    if isinstance(value, torch.Tensor):
        return bool(value.dim()) and value.shape[0] == n
    if isinstance(value, Mapping):
        value = list(value.values())
    return (
        isinstance(value, Sequence)
        and not isinstance(value, str | bytes)
        and any(_spans(v, n) for v in value)
    )
