"""Which samples two sets of data share, told by the sha256 of each; data is read once and not kept."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from nimble_lightning.data.sliced_loader import Rows, as_columns
from nimble_lightning.data.source import open_source

# Looked at the clock after so many samples.
_AT_ONCE = 64
_KEPT_BYTES = 16


@dataclass(frozen=True)
class Overlap:
    """How many samples of some data are among those of another.

    Attributes:
        found: Samples that both have.
        checked: Samples that were read.
        size: How many there are; None for a stream that was not read to its end.

    None is read where no two readings give the same samples.
    """

    found: int
    checked: int
    size: int | None

    @property
    def complete(self) -> bool:
        return self.checked == self.size


def fingerprint(sample: Any) -> bytes:
    """A digest of what a sample holds: equal for equal tensors, arrays, bytes, texts and numbers."""
    digest = hashlib.sha256()
    _add(digest, sample)
    return digest.digest()[:_KEPT_BYTES]


def fingerprints(source: Any) -> Iterator[bytes]:
    """The digests of all samples, in the order of the data."""
    return map(fingerprint, samples_of(source))


def overlap(known: set[bytes], source: Any, seconds: float) -> Overlap:
    """Count the samples of a source that are known, for as long as that may take."""
    if not is_comparable(source):
        return Overlap(0, 0, _length(source))
    until, found, checked = time.monotonic() + seconds, 0, 0
    for digest in fingerprints(source):
        if checked % _AT_ONCE == 0 and time.monotonic() >= until:
            return Overlap(found, checked, _length(source))
        found += digest in known
        checked += 1
    return Overlap(found, checked, checked)


def is_comparable(source: Any) -> bool:
    """Whether samples can be read one by one and are the same when read again.

    Random transformations make each one new.
    """
    if not isinstance(source, DataLoader) and hasattr(source, "batch_size"):
        return False
    return next(fingerprints(source), b"") == next(fingerprints(source), b"")


def samples_of(source: Any) -> Iterator[Any]:
    """One sample after the other, as they are before they are batched."""
    dataset = _dataset(source)
    if hasattr(dataset, "__getitem__") and hasattr(dataset, "__len__"):
        return (dataset[index] for index in range(len(dataset)))
    return open_source(dataset)


def _dataset(source: Any) -> Any:
    dataset = source.dataset if isinstance(source, DataLoader) else source
    columns = as_columns(dataset)
    return dataset if columns is None else Rows(*columns)


def _length(source: Any) -> int | None:
    dataset = _dataset(source)
    return len(dataset) if hasattr(dataset, "__len__") else None


def _add(digest: Any, value: Any) -> None:
    """Add a value with its kind and size, so that no two different samples give the same bytes."""
    if isinstance(value, Tensor):
        value = value.detach().cpu()
        value = value.view(torch.int16).numpy() if value.dtype == torch.bfloat16 else value.numpy()
    if isinstance(value, np.ndarray | np.generic) and value.dtype.kind != "O":
        digest.update(f"array {value.dtype} {value.shape}:".encode())
        digest.update(np.ascontiguousarray(value).tobytes())
    elif isinstance(value, bytes | bytearray):
        digest.update(f"bytes {len(value)}:".encode())
        digest.update(value)
    elif isinstance(value, Mapping):
        digest.update(f"mapping {len(value)}:".encode())
        for key in sorted(value, key=str):
            _add(digest, str(key))
            _add(digest, value[key])
    elif isinstance(value, Sequence | Iterable) and not isinstance(value, str):
        _add_several(digest, value)
    else:
        text = repr(value).encode()
        digest.update(f"{type(value).__name__} {len(text)}:".encode())
        digest.update(text)


def _add_several(digest: Any, values: Iterable[Any]) -> None:
    items = list(values)
    digest.update(f"several {len(items)}:".encode())
    for item in items:
        _add(digest, item)
