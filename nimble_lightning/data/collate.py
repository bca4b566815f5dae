"""Rows of Hugging Face datasets into batches: numbers become tensors, ragged columns stay lists."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch


def collate_rows(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """A batch of samples that are dicts with the same keys."""
    return collate_columns({name: [row[name] for row in rows] for name in rows[0]})


def collate_columns(columns: dict[str, Any]) -> dict[str, Any]:
    """A batch of columns, each a list with one value a sample or a tensor already."""
    return {name: _stack(values) for name, values in columns.items()}


def _stack(values: Any) -> Any:
    if isinstance(values, np.ndarray):
        return torch.from_numpy(values) if values.dtype.kind in "biufc" else values
    if not isinstance(values, list):
        return values
    if all(isinstance(value, torch.Tensor) for value in values):
        alike = len({(value.shape, value.dtype) for value in values}) == 1
        return torch.stack(values) if alike else values
    if all(isinstance(value, np.ndarray) and value.dtype.kind in "biufc" for value in values):
        return torch.from_numpy(np.stack(values)) if len({value.shape for value in values}) == 1 else values
    return _numbers(values)


def _numbers(values: list[Any]) -> Any:
    try:
        stacked = torch.tensor(values)
    except (TypeError, ValueError, RuntimeError):
        # What torch says of texts, ragged lists and None; looking for them first takes longer than the rest.
        return values
    return stacked if stacked.numel() else values
