"""DeepSpeed, whose engine keeps the gradients to itself: it averages, clips and steps."""

from __future__ import annotations

import math
from typing import Any

from lightning.pytorch.strategies import DeepSpeedStrategy
from torch import Tensor

from nimble_lightning.adapters.distributed import gradient_sums
from nimble_lightning.adapters.distributed.gradient_exchange import Averaged
from nimble_lightning.errors import RequestError, TrainerError
from nimble_lightning.ops.strategy_traits import Averages, traits_of
from nimble_lightning.settings import Clip


class Engine(Averaged):
    """What a piece weighs has to be known before it goes backward, so it is weighted by its samples."""

    def __init__(self, *of_alone: Any, strategy: DeepSpeedStrategy) -> None:
        super().__init__(*of_alone)
        self._strategy = strategy

    def unit(self, items: float) -> float:
        return gradient_sums.sums((items,), self._device)[0] / self.ranks

    def backward(self, loss: Tensor, last: bool) -> Tensor | None:
        engine = self._strategy.deepspeed_engine
        engine.set_gradient_accumulation_boundary(last)
        held = super().backward(loss, last)
        if not last:
            # Its sharded optimizers count pieces by forwards of the engine, of which a batch here has one.
            engine.optimizer.clear_backward_seen_flag()
        return held

    def finish(self, unit: float, items: float, total: float, held: Tensor | None) -> None:
        (total,) = gradient_sums.sums((items,), self._device)
        if not math.isclose(total, unit * self.ranks):
            raise TrainerError(
                f"train returned a loss over {total:g} items for {unit * self.ranks:g} samples; DeepSpeed "
                "can weigh by samples only.\nReturn the mean loss alone, or choose strategy=fsdp."
            )


def prepare(strategy: Any, clip: Clip, accumulate: int) -> None:
    """Tell DeepSpeed what it does by itself, and refuse what it cannot do right; others are left alone."""
    if traits_of(strategy).averages is not Averages.ENGINE or not isinstance(strategy.config, dict):
        return
    if accumulate > 1:
        raise RequestError(
            f"lightning.accumulate_grad_batches={accumulate}: DeepSpeed does not know how much is to come.\n"
            f"Give a data.batch_size {accumulate} times larger, and today's as data.micro_batch_size."
        )
    if clip.value:
        raise RequestError(
            f"clip.value={clip.value}: DeepSpeed can only clip by the norm; give clip.norm instead."
        )
    if clip.norm:
        strategy.config["gradient_clipping"] = clip.norm
    # For its log only; Lightning would look for it in a loader that has a sampler of batches.
    strategy.config.setdefault("train_micro_batch_size_per_gpu", 1)
    # Otherwise it refuses any optimizer but its own when the state is kept in the machine's memory.
    strategy.config.setdefault("zero_force_ds_cpu_optimizer", False)
