"""A number of the device, read a step later, when it has long been there."""

from __future__ import annotations

import torch
from torch import Tensor


class DelayedScalar:
    """Holds one number; `put` never waits, `take` waits at most for what was queued before that number."""

    def __init__(self) -> None:
        self._value: Tensor | None = None
        self._there: torch.cuda.Event | None = None

    def put(self, value: Tensor) -> None:
        self._there = None
        if value.device.type != "cuda":
            self._value = value
            return
        self._value = torch.empty((), dtype=value.dtype, pin_memory=True)
        self._value.copy_(value.detach(), non_blocking=True)
        self._there = torch.cuda.Event()
        self._there.record()

    def take(self) -> float | None:
        """The number put last; None if it was taken already."""
        if self._value is None:
            return None
        if self._there is not None:
            self._there.synchronize()
        value, self._value = float(self._value), None
        return value
