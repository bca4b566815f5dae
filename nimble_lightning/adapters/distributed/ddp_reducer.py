"""DDP's own reducer, for what only it can do.

That is communication hooks, a static graph, and gradients that travel while the backward pass goes on.

Pieces go backward as ever, the last one of a step only when all ranks have agreed: by then the gradients so
far and its loss are weighted by the items of all ranks, and the reducer's mean is that over all items.
"""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import torch
from lightning.pytorch.overrides.distributed import _register_ddp_comm_hook
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor
from torch._functorch import config as functorch
from torch.distributed import ProcessGroup
from torch.distributed.algorithms.ddp_comm_hooks.post_localSGD_hook import PostLocalSGDState
from torch.distributed.algorithms.ddp_comm_hooks.powerSGD_hook import PowerSGDState
from torch.nn.parallel import DistributedDataParallel

from nimble_lightning.adapters.distributed import gradient_sums
from nimble_lightning.adapters.distributed.gradient_exchange import AddedUp
from nimble_lightning.errors import RequestError
from nimble_lightning.ranks import gathered_by_first, mine

log = logging.getLogger(__name__)


class Reducer:
    """Takes the reducer's options out of the strategy before DDP is set up, and starts it later.

    It starts when its buckets have their final order.
    """

    def __init__(self, strategy: DDPStrategy) -> None:
        self.state = _HookState(strategy._ddp_comm_state, strategy)
        self._strategy = strategy
        self._hook, strategy._ddp_comm_hook = strategy._ddp_comm_hook, None
        self._rehearsed = not strategy._ddp_kwargs.get("static_graph", False)
        self._donated = functorch.donated_buffer

    @classmethod
    def asked_of(cls, strategy: Any) -> Reducer | None:
        """None where nothing was asked that only the reducer can do."""
        if not isinstance(strategy, DDPStrategy):
            return None
        if isinstance(strategy._ddp_comm_state, PostLocalSGDState):
            raise RequestError(
                "PostLocalSGDState lets the weights of ranks differ, so no checkpoint would be that of all.\n"
                "Choose strategy=ddp_powersgd, ddp_fp16 or ddp_bf16 to send less."
            )
        static = strategy._ddp_kwargs.get("static_graph", False)
        if static and isinstance(strategy._ddp_comm_state, PowerSGDState):
            raise RequestError(
                "lightning.strategy.static_graph=true: its buckets change after the first step, so PowerSGD "
                "would not find its errors in them after a resume.\nLeave static_graph out."
            )
        return cls(strategy) if static or strategy._ddp_comm_hook is not None else None

    @property
    def _ddp(self) -> DistributedDataParallel:
        model = self._strategy.model
        assert isinstance(model, DistributedDataParallel)
        return model

    def start(self) -> None:
        self._settle_buckets()
        if not self._rehearsed:
            # Or the loss of a compiled model could not go backward twice.
            functorch.donated_buffer = False
        if self._hook is None:
            return
        strategy = self._strategy
        try:
            _register_ddp_comm_hook(
                self._ddp, strategy._ddp_comm_state, self._hook, strategy._ddp_comm_wrapper
            )
        except TypeError as error:
            raise RequestError(f"{error}\nWithout NCCL choose strategy=ddp_fp16, or strategy=ddp.") from error

    def backward(self, loss: Tensor) -> None:
        """The one backward pass of a step that the reducer takes part in."""
        assert self._strategy.lightning_module is not None
        self._ddp.require_backward_grad_sync = True
        self._strategy.lightning_module.manual_backward(loss)
        self._ddp.require_backward_grad_sync = False

    def rehearse(self, loss: Tensor) -> None:
        """What the reducer sees before its first exchange is its static graph: let that be one piece."""
        if self._rehearsed:
            return
        self._rehearsed = True
        self._ddp.require_backward_grad_sync = True
        self._ddp.reducer.prepare_for_forward()
        self._strategy.pre_backward(loss)
        (loss * 0.0).backward(retain_graph=True)
        self._strategy.post_backward(loss)
        self._ddp.require_backward_grad_sync = False
        self._forget_gradients()

    def give_back(self) -> None:
        functorch.donated_buffer = self._donated
        self._strategy._ddp_comm_hook = self._hook
        self._strategy._pl_static_graph_delay_done = False

    def _settle_buckets(self) -> None:
        """Rehearse a step with zeros, after which the reducer orders its buckets anew.

        Otherwise the first real step would do it, and a run that is continued would sum in another order than
        one that never stopped, and a hook would not find what it remembers.
        """
        if self._ddp.find_unused_parameters or self._ddp.static_graph:
            return
        self._ddp.reducer.prepare_for_backward([])
        parameters = [p for p in self._ddp.module.parameters() if p.requires_grad]
        for parameter in reversed(parameters):
            parameter.backward(torch.zeros_like(parameter))
        self._forget_gradients()
        self._ddp.reducer._rebuild_buckets()

    def _forget_gradients(self) -> None:
        for parameter in self._ddp.module.parameters():
            parameter.grad = None


class Reduced(AddedUp):
    """Gradients meet in DDP's reducer, in the last backward pass of a step: up to there all can try again."""

    def __init__(self, *of_alone: Any, reducer: Reducer) -> None:
        super().__init__(*of_alone)
        self._reducer = reducer

    def may_skip(self, last: bool) -> bool:
        return not last

    def backward(self, loss: Tensor, last: bool) -> Tensor | None:
        self._reducer.rehearse(loss)
        return loss if last else super().backward(loss, last)

    def finish(self, unit: float, items: float, total: float, held: Tensor | None) -> None:
        if not total or held is None:
            return
        weight = unit * self.ranks / total
        gradient_sums.scale(self.parameters, weight)
        self._reducer.backward(held * weight)


class _HookState:
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
