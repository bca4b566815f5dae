"""How many samples and tokens a batch holds, and how to cut it into pieces, which are views.

A batch whose class has `__len__` and `split(size)` says both itself; of others the first dimensions of their
tensors tell.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol, TypeGuard

import torch

from nimble_lightning.errors import TrainerError

IDS, MASK = "input_ids", "attention_mask"
# Of each row, where its maker knows: a packed row has no mask.
COUNTS = "num_tokens"


class SplittableBatch(Protocol):
    """A batch that knows its samples, as one of texts of unequal lengths in one long row does."""

    def __len__(self) -> int:
        """How many samples it holds."""
        ...

    def split(self, size: int) -> Iterable[Any]:
        """Batches of at most so many of its samples, in order."""
        ...


def size_of(batch: Any) -> int:
    """The number of samples: the first dimension of the first tensor found; 1 for what cannot be measured."""
    if _knows_itself(batch):
        return len(batch)
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


def shaped_tokens(batch: Any) -> int | None:
    """As many as `input_ids` holds, padding included; None where there are none."""
    ids = batch.get(IDS) if isinstance(batch, Mapping) else None
    return ids.numel() if isinstance(ids, torch.Tensor) else None


def told_tokens(batch: Mapping[str, Any]) -> torch.Tensor | None:
    """Those that are no padding, as `num_tokens` says of each row; on the device, which is not waited for."""
    counts, ids = batch.get(COUNTS), batch[IDS]
    if not isinstance(counts, torch.Tensor) or counts.dim() != 1 or counts.shape[0] != ids.shape[0]:
        return None
    return counts.sum()


def real_tokens(batch: Any) -> int | None:
    """Those that are no padding, as far as the batch tells. Waits for the device."""
    shaped = shaped_tokens(batch)
    if shaped is None:
        return None
    told, mask = told_tokens(batch), batch.get(MASK)
    if told is None and isinstance(mask, torch.Tensor):
        told = mask.count_nonzero()
    return shaped if told is None else int(told)


def split(batch: Any, size: int) -> Iterator[Any]:
    """Cut a batch into pieces of at most `size` samples, about as many in each.

    Raises:
        TrainerError: Something in it has another length, so that nobody knows which part goes where.
    """
    if _knows_itself(batch):
        yield from batch.split(size)
        return
    n = size_of(batch)
    # As few as it takes, and none that is a small rest: of a single sample batch norm knows no variance.
    pieces = math.ceil(n / size)
    ends = [math.ceil(n * number / pieces) for number in range(pieces + 1)]
    for start, stop in itertools.pairwise(ends):
        yield _cut(batch, start, stop, n)


def can_split(batch: Any) -> bool:
    """Whether a batch can be cut into smaller ones."""
    return (_knows_itself(batch) or isinstance(batch, torch.Tensor | Mapping | Sequence)) and size_of(
        batch
    ) > 1


def _knows_itself(batch: Any) -> TypeGuard[SplittableBatch]:
    if isinstance(batch, torch.Tensor | str | bytes):
        return False
    return callable(getattr(type(batch), "split", None)) and hasattr(type(batch), "__len__")


def _cut(value: Any, start: int, stop: int, n: int) -> Any:
    if isinstance(value, torch.Tensor):
        if value.dim() and value.shape[0] == n:
            return value[start:stop]
        if value.dim() and value.shape[0] > 1:
            raise TrainerError(
                f"The batch has {n} samples and holds a tensor of {value.shape[0]}: nobody knows what of it "
                "belongs to which sample, so it cannot be cut into pieces.\nReturn an object with __len__() "
                "and split(size) from collate, or give each tensor one row a sample."
            )
        return value
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
