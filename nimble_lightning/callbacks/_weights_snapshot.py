"""Weights and optimizer state, kept in host memory."""

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
