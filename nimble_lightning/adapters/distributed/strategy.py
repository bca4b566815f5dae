"""How the ranks of a fit work on a step together, as the Trainer's strategy has it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import lightning as L
import torch
import torch.distributed as dist
from lightning.pytorch.strategies import DDPStrategy
from lightning.pytorch.strategies.strategy import _ForwardRedirection
from torch import nn
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel
from typing_extensions import override

from nimble_lightning.adapters.distributed import deepspeed
from nimble_lightning.adapters.distributed.ddp_reducer import Reduced, Reducer
from nimble_lightning.adapters.distributed.deepspeed import Engine
from nimble_lightning.adapters.distributed.gradient_exchange import (
    AddedUp,
    Averaged,
    BackwardPass,
    KeptAside,
    NoExchange,
)
from nimble_lightning.adapters.global_step import LossOf, PieceLoss
from nimble_lightning.errors import TrainerError
from nimble_lightning.ops.strategy_traits import Averages, traits_of
from nimble_lightning.optim.groups import remember_dimensions
from nimble_lightning.ranks import group_of_shares
from nimble_lightning.settings import Clip


class StepStrategy:
    """Looks at the strategy before it is set up, and afterwards says how gradients meet."""

    def __init__(self) -> None:
        self._reducer: Reducer | None = None
        self._redirection: _ForwardRedirection | None = None

    def take_over(self, trainer: L.Trainer, clip: Clip, accumulate: int) -> None:
        self._reducer = Reducer.asked_of(trainer.strategy)
        deepspeed.prepare(trainer.strategy, clip, accumulate)
        if traits_of(trainer.strategy).flat and "_setup_model" not in vars(trainer.strategy):
            trainer.strategy._setup_model = _CutUpOnce(trainer.strategy._setup_model)  # type: ignore

    def start(
        self, trainer: L.Trainer, parameters: Sequence[nn.Parameter], backward: BackwardPass
    ) -> NoExchange:
        strategy: Any = trainer.strategy
        traits, ranks = traits_of(strategy), trainer.world_size
        if traits.averages is Averages.ENGINE:
            return Engine(parameters, backward, ranks, strategy=strategy)
        if traits.averages is Averages.US:
            return self._start_ddp(strategy, parameters, backward, ranks)
        if traits.flat:
            self._redirection, strategy._forward_redirection = strategy._forward_redirection, _ByPieces()
            return KeptAside(parameters, backward, ranks)
        if ranks == 1:
            return NoExchange(parameters, backward)
        _require_met(trainer.lightning_module, group_of_shares(strategy))
        return Averaged(parameters, backward, ranks)

    def through_model(self, trainer: L.Trainer, loss_of: PieceLoss) -> LossOf:
        """The loss of a piece, by way of whatever the strategy has put around the model."""
        strategy = trainer.strategy
        if not isinstance(strategy._forward_redirection, _ByPieces):
            return loss_of
        whole: Any = strategy.model
        return partial(strategy._forward_redirection, whole, trainer.lightning_module, "loss_of_piece")

    def end(self, trainer: L.Trainer) -> None:
        if self._redirection is not None:
            trainer.strategy._forward_redirection = self._redirection
            self._redirection = None
        if self._reducer is not None:
            self._reducer.give_back()

    def state_dict(self) -> dict[str, Any]:
        return {} if self._reducer is None else self._reducer.state.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if self._reducer is not None:
            self._reducer.state.load_state_dict(state)

    def _start_ddp(
        self, strategy: DDPStrategy, parameters: Sequence[nn.Parameter], backward: BackwardPass, ranks: int
    ) -> NoExchange:
        assert isinstance(strategy.model, DistributedDataParallel)
        self._redirection, strategy._forward_redirection = strategy._forward_redirection, _Quietly()
        strategy.model.require_backward_grad_sync = False
        if self._reducer is not None:
            self._reducer.start()
            return Reduced(parameters, backward, ranks, reducer=self._reducer)
        if ranks == 1:
            return NoExchange(parameters, backward)
        added_up = AddedUp(parameters, backward, ranks)
        added_up.bucket_mib = strategy._ddp_kwargs.get("bucket_cap_mb") or added_up.bucket_mib
        return added_up


def reshard(module: nn.Module) -> None:
    """What is trained are the parts, and an evaluation leaves the outermost of what FSDP2 cuts up whole."""
    for part in module.modules():
        if isinstance(part, FSDPModule):
            part.reshard()


def _require_met(module: nn.Module, group: dist.ProcessGroup | None) -> None:
    """Refuse gradients that would stay those of one rank's samples: `fully_shard` makes them meet."""
    others, own = set(dist.get_process_group_ranks(group)) if group else set(), {dist.get_rank()}
    for name, parameter in module.named_parameters():
        over = set(parameter.device_mesh.mesh.flatten().tolist()) if isinstance(parameter, DTensor) else own
        if parameter.requires_grad and not others <= over:
            raise TrainerError(
                f"{name} is not cut up over the {len(others)} ranks that have other samples, so they would "
                "each train their own. Give its model to fully_shard in configure_model: "
                'fully_shard(self.model, mesh=self.device_mesh["data_parallel"])'
            )


class _ByPieces(_ForwardRedirection):
    """FSDP's forward is over before anything goes backward: it is that of a piece, not of a whole step."""

    @override
    def __call__(
        self,
        wrapper_module: nn.Module,
        original_module: L.LightningModule,
        method_name: str,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        if method_name == "training_step":
            return original_module.training_step(*args, **kwargs)
        return super().__call__(wrapper_module, original_module, method_name, *args, **kwargs)


class _CutUpOnce:
    """FSDP's set-up, which would cut up once more what is in parts already, to evaluate it after a fit."""

    def __init__(self, set_up: Callable[[nn.Module], nn.Module]) -> None:
        self._set_up = set_up
        self._whole: nn.Module | None = None
        self._parts: nn.Module | None = None

    def __call__(self, model: nn.Module) -> nn.Module:
        if self._parts is None or self._whole is not model:
            remember_dimensions(model)
            self._whole, self._parts = model, self._set_up(model)
        return self._parts


class _Quietly(_ForwardRedirection):
    """Run DDP's forward without its reducer.

    Running statistics still come from the first rank, or no checkpoint would be that of all.
    """

    @override
    def on_after_outer_forward(self, wrapper_module: nn.Module, original_module: L.LightningModule) -> None:
        if torch.is_grad_enabled() and isinstance(wrapper_module, DistributedDataParallel):
            wrapper_module.require_forward_param_sync = True
