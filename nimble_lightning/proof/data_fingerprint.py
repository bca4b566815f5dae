"""What data a run saw, in a few bytes: a digest of all of it, or of as much as may be read in a moment.

Tensors and arrays up to `MOST_BYTES` are covered whole, of larger ones rows spread evenly; of datasets that
are read sample by sample, `MOST_SAMPLES` spread evenly. Every fingerprint says how much it covers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Subset, TensorDataset

from nimble_lightning.data import rng
from nimble_lightning.data.source import is_hugging_face

MOST_BYTES = 256 << 20
MOST_SAMPLES = 64
_CHUNK = 4 << 20


def fingerprint(data: Any) -> dict[str, Any]:
    """How to recognise the data; `sha256` is None where they cannot be read twice."""
    if isinstance(data, DataLoader):
        return {**fingerprint(data.dataset), "loader": True}
    if is_hugging_face(data, "Dataset"):
        return {"kind": "hugging_face", "rows": len(data), "sha256": None, "fingerprint": data._fingerprint}
    columns = _columns(data)
    if columns is not None:
        return _of_columns(columns)
    if isinstance(data, Subset):
        indices = hashlib.sha256(np.asarray(data.indices, dtype=np.int64).tobytes()).hexdigest()
        return {"kind": "subset", "rows": len(data), "indices": indices, "of": fingerprint(data.dataset)}
    if hasattr(data, "__getitem__") and hasattr(data, "__len__"):
        return _of_samples(data)
    return {"kind": "stream", "type": type(data).__name__, "sha256": None, "covered": 0.0}


def _columns(data: Any) -> dict[str, Any] | None:
    if isinstance(data, TensorDataset):
        data = data.tensors
    if isinstance(data, torch.Tensor | np.ndarray):
        data = [data]
    if isinstance(data, Mapping):
        named = {str(name): column for name, column in data.items()}
    elif isinstance(data, tuple | list):
        named = {str(number): column for number, column in enumerate(data)}
    else:
        return None
    arrays = all(isinstance(c, torch.Tensor | np.ndarray) and c.ndim > 0 for c in named.values())
    return named if named and arrays else None


def _of_columns(columns: Mapping[str, Any]) -> dict[str, Any]:
    total = sum(_bytes(column) for column in columns.values())
    part = min(1.0, MOST_BYTES / total) if total else 1.0
    digest = hashlib.sha256()
    for name, column in columns.items():
        digest.update(f"{name} {str(column.dtype).rpartition('.')[2]} {tuple(column.shape)}".encode())
        for piece in _pieces(column, part):
            digest.update(piece)
    rows = len(next(iter(columns.values())))
    return {
        "kind": "tensors",
        "rows": rows,
        "bytes": total,
        "sha256": digest.hexdigest(),
        "covered": round(part, 6),
    }


def _pieces(column: Any, part: float) -> Iterable[memoryview]:
    """The bytes of a column, or of rows spread over it, a few megabytes at a time."""
    rows = _spread(len(column), max(1, int(len(column) * part)))
    size = max(1, _CHUNK // max(1, _bytes(column) // max(1, len(column))))
    for begin in range(0, len(rows), size):
        chosen = rows[begin : begin + size]
        if len(rows) == len(column):
            piece = column[begin : begin + size]
        else:
            piece = column[torch.tensor(chosen) if isinstance(column, torch.Tensor) else chosen]
        yield memoryview(_plain(piece))


def _plain(value: Any) -> Any:
    """The bytes of a tensor or an array, whatever its type."""
    if isinstance(value, torch.Tensor):
        return value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
    if value.dtype.hasobject:
        return np.frombuffer(repr(value.tolist()).encode(), dtype=np.uint8)
    return np.ascontiguousarray(value).reshape(-1).view(np.uint8)


def _of_samples(data: Any) -> dict[str, Any]:
    """Samples may be drawn at random: the draws are our own, and the run's go on as if nothing had been."""
    rows = len(data)
    chosen = _spread(rows, min(rows, MOST_SAMPLES))
    digest = hashlib.sha256()
    with rng.seeded("fingerprint", rows):
        for index in chosen:
            _add(digest, data[index])
    covered = round(len(chosen) / rows, 6) if rows else 1.0
    kind = type(data).__name__
    return {"kind": "samples", "type": kind, "rows": rows, "sha256": digest.hexdigest(), "covered": covered}


def _add(digest: Any, value: Any) -> None:
    if isinstance(value, torch.Tensor | np.ndarray):
        digest.update(f"{str(value.dtype).rpartition('.')[2]} {tuple(value.shape)}".encode())
        digest.update(memoryview(_plain(value)))
    elif isinstance(value, Mapping):
        for key in sorted(value, key=str):
            digest.update(f"{key}:".encode())
            _add(digest, value[key])
    elif isinstance(value, Sequence) and not isinstance(value, str | bytes | bytearray):
        digest.update(f"[{len(value)}]".encode())
        for item in value:
            _add(digest, item)
    elif hasattr(value, "tobytes"):
        digest.update(value.tobytes())
    else:
        plain = value is None or isinstance(value, str | bytes | bytearray | int | float | complex)
        # The default text of an object holds its address, which is another one each time.
        digest.update((repr(value) if plain else type(value).__qualname__).encode())


def _spread(rows: int, count: int) -> list[int]:
    return list(range(rows)) if count >= rows else [index * rows // count for index in range(count)]


def _bytes(column: Any) -> int:
    return int(column.numel() * column.element_size() if isinstance(column, torch.Tensor) else column.nbytes)
