"""Fingerprints of contents, by which a change is seen without keeping what was there before."""

from __future__ import annotations

import hashlib
import marshal
from collections import deque
from contextlib import suppress
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nimble_lightning.ops.object_members import MOST_ITEMS

# Up to so many bytes are compared by value. Of more, tensors tell by their counter of versions whether they
# were written to, and of arrays a sample is compared.
_SMALL = 1 << 20
_SAMPLE, _FEW = 1 << 16, 1 << 10
_SHORT = 64


def token(thing: Any) -> list[Any] | None:
    """Of something large, what tells a change of it without looking at all of it."""
    if issubclass(type(thing), Tensor) and thing.nbytes > _SMALL and not thing.is_inference():
        return ["tensor", thing.data_ptr(), thing._version, list(thing.shape)]
    if issubclass(type(thing), np.ndarray) and thing.nbytes > _SMALL:
        flat = thing.reshape(-1) if thing.flags.c_contiguous else thing.flat
        return ["array", thing.ctypes.data, list(thing.shape), flat[:: 1 + thing.size // _SAMPLE].tobytes()]
    if issubclass(type(thing), list | dict | set | deque) and len(thing) > MOST_ITEMS:
        ids = [id(part) for part in islice(thing, 0, None, 1 + len(thing) // _FEW)]
        return ["many", len(thing), *ids, id(thing[-1]) if isinstance(thing, list | deque) else 0]
    return None


def digest(value: Any) -> bytes:
    """Of what a `ValueWriter` wrote."""
    with suppress(ValueError):  # a tensor is in it, or a type of torch's
        # In this version without references: what is equal is written alike.
        plain = marshal.dumps(value, 2)
        return plain if len(plain) < _SHORT else hashlib.blake2b(plain, digest_size=16).digest()
    hashed = hashlib.blake2b(digest_size=16)

    def add(item: Any) -> None:
        if isinstance(item, Tensor):
            hashed.update(repr((item.dtype, item.shape)).encode())
            if (short := token(item)) is not None:
                hashed.update(repr(short).encode())
            else:
                plain = item.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
                hashed.update(plain.numpy().tobytes())
        elif isinstance(item, dict):
            add(list(item.items()))
        elif isinstance(item, list | tuple):
            hashed.update(f"[{len(item)}".encode())
            for part in item:
                add(part)
        else:
            hashed.update(repr((type(item).__name__, item)).encode())

    add(value)
    return hashed.digest()
