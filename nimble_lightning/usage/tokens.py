"""How many tokens batches hold, without waiting for a device."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

_IDS, _MASK = "input_ids", "attention_mask"


class Tokens:
    """Counts every batch by its shape; how much of that is padding is looked at in a few batches."""

    def __init__(self) -> None:
        self._shaped = 0
        self._real = 0
        self._looked_at = 0
        self._masks: list[torch.Tensor] = []

    @staticmethod
    def are_in(batch: Any) -> bool:
        return isinstance(batch, Mapping) and isinstance(batch.get(_IDS), torch.Tensor)

    def add(self, batch: Mapping[str, Any]) -> None:
        self._shaped += batch[_IDS].numel()

    def look_at(self, batch: Mapping[str, Any]) -> None:
        """Have the device count what is not padding; the answer is read later, in another thread."""
        mask = batch.get(_MASK)
        if isinstance(mask, torch.Tensor) and len(self._masks) < 2:
            self._looked_at += batch[_IDS].numel()
            self._masks.append(mask.detach().count_nonzero())

    def read(self) -> tuple[float, str, str]:
        """The tokens so far, how that is known, and a note. May wait for the device."""
        while self._masks:
            self._real += int(self._masks.pop())
        if not self._looked_at:
            return float(self._shaped), "measured", "as many as input_ids holds"
        if self._real == self._looked_at:
            return float(self._shaped), "measured", "no padding was seen"
        share = self._real / self._looked_at
        return self._shaped * share, "estimated", f"{share:.0%} of {self._shaped:,}; the rest is padding"
