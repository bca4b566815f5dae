"""How the ranks of a fit work on a step together, as the Trainer's strategy has it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import lightning as L
import torch
from lightning.pytorch.strategies import DDPStrategy, DeepSpeedStrategy
from lightning.pytorch.strategies.strategy import _ForwardRedirection
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from typing_extensions import override

from nimble_lightning.adapters import engine
from nimble_lightning.adapters.engine import Engine
from nimble_lightning.adapters.exchange import AddedUp, Alone, Averaged, BackwardPass
from nimble_lightning.adapters.reducer import Reduced, Reducer
from nimble_lightning.adapters.settings import Clip


class Cooperation:
    """Looks at the strategy before it is set up, and afterwards says how gradients meet."""

    def __init__(self) -> None:
        self._reducer: Reducer | None = None
        self._redirection: _ForwardRedirection | None = None

    def take_over(self, trainer: L.Trainer, clip: Clip, accumulate: int) -> None:
        self._reducer = Reducer.asked_of(trainer.strategy)
        engine.prepare(trainer.strategy, clip, accumulate)

    def start(self, trainer: L.Trainer, parameters: Sequence[nn.Parameter], backward: BackwardPass) -> Alone:
        strategy, ranks = trainer.strategy, trainer.world_size
        if isinstance(strategy, DeepSpeedStrategy):
            return Engine(parameters, backward, ranks, strategy=strategy)
        if isinstance(strategy, DDPStrategy):
            return self._start_ddp(strategy, parameters, backward, ranks)
        return Alone(parameters, backward) if ranks == 1 else Averaged(parameters, backward, ranks)

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
    ) -> Alone:
        assert isinstance(strategy.model, DistributedDataParallel)
        self._redirection, strategy._forward_redirection = strategy._forward_redirection, _Quietly()
        strategy.model.require_backward_grad_sync = False
        if self._reducer is not None:
            self._reducer.start()
            return Reduced(parameters, backward, ranks, reducer=self._reducer)
        if ranks == 1:
            return Alone(parameters, backward)
        added_up = AddedUp(parameters, backward, ranks)
        added_up.bucket_mib = strategy._ddp_kwargs.get("bucket_cap_mb") or added_up.bucket_mib
        return added_up


class _Quietly(_ForwardRedirection):
    """Through DDP's forward, without its reducer; running statistics still come from the first rank, or no
    checkpoint would be that of all."""

    @override
    def on_after_outer_forward(self, wrapper_module: nn.Module, original_module: L.LightningModule) -> None:
        if torch.is_grad_enabled() and isinstance(wrapper_module, DistributedDataParallel):
            wrapper_module.require_forward_param_sync = True
