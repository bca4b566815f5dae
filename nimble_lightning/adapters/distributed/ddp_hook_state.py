"""What a communication hook remembers from step to step, saved with a checkpoint."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import torch
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor
from torch.distributed import ProcessGroup
from torch.distributed.algorithms.ddp_comm_hooks.powerSGD_hook import PowerSGDState

from nimble_lightning.ranks import gathered_by_first, mine

log = logging.getLogger(__name__)


class HookState:
    """The state of PowerSGD: its errors, different on each rank, and its approximations, the same on all."""

    def __init__(self, state: Any, strategy: DDPStrategy) -> None:
        self._state = state if isinstance(state, PowerSGDState) else None
        self._strategy = strategy
        if self._state is None and not isinstance(state, ProcessGroup | None):
            log.warning("what %s remembers is not saved: it begins anew after a resume", type(state).__name__)

    def state_dict(self) -> dict[str, Any]:
        """Every rank must call this."""
        if (state := self._state) is None:
            return {}
        _, keys, *rest = state.rng.get_state()
        return {
            "iter": state.iter,
            "errors": gathered_by_first(_on_cpu(state.error_dict)),
            "p": _on_cpu(state.p_memory_dict),
            "q": _on_cpu(state.q_memory_dict),
            "random": [torch.from_numpy(keys.astype(np.int64)), *rest],
        }

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        if not saved or (state := self._state) is None:
            return
        device = self._strategy.root_device
        keys, *rest = saved["random"]
        state.rng.set_state(("MT19937", keys.numpy().astype(np.uint32), *rest))
        state.iter = saved["iter"]
        state.p_memory_dict, state.q_memory_dict = _to(saved["p"], device), _to(saved["q"], device)
        state.error_dict = _to(mine(saved["errors"]) or {}, device)


def _on_cpu(buckets: dict[int, Tensor]) -> dict[int, Tensor]:
    return {index: tensor.detach().cpu().clone() for index, tensor in buckets.items()}


def _to(buckets: dict[int, Tensor], device: torch.device) -> dict[int, Tensor]:
    return {index: tensor.to(device) for index, tensor in buckets.items()}
