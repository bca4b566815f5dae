"""Kept from one step to a later one: weights and optimizer state on the host, a number of the device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils._pytree import tree_map_only


class Snapshot:
    """A state that can be put back into the very tensors it was taken from."""

    def __init__(self, tensors: list[tuple[Tensor, Tensor]], states: list[tuple[Optimizer, Any]]) -> None:
        self._tensors = tensors
        self._states = states

    @classmethod
    def of(cls, module: nn.Module, optimizers: Sequence[Optimizer]) -> Snapshot:
        own = [*module.parameters(), *module.buffers()]
        with torch.no_grad():
            return cls(
                [(tensor, _copy(tensor)) for tensor in own],
                [(o, tree_map_only(Tensor, _copy, o.state_dict()["state"])) for o in optimizers],
            )

    def restore(self) -> None:
        """Learning rates stay: they belong to the schedule, which does not go back."""
        with torch.no_grad():
            for tensor, kept in self._tensors:
                tensor.copy_(kept)
        for optimizer, state in self._states:
            groups = optimizer.state_dict()["param_groups"]
            fresh = tree_map_only(Tensor, torch.clone, state)
            optimizer.load_state_dict({"state": fresh, "param_groups": groups})


def _copy(tensor: Tensor) -> Tensor:
    return tensor.detach().to("cpu", copy=True)


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
