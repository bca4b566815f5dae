"""How many tokens a batch of texts holds, and how many of them are no padding."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

IDS, MASK = "input_ids", "attention_mask"
# Of each row, where its maker knows: a packed row has no mask.
COUNTS = "num_tokens"


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
