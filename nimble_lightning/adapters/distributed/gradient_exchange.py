"""Where the gradients of the ranks meet, and what ranks have to agree on before.

A loss is a mean over items, of which ranks and pieces hold different numbers. Every piece is weighted by its
items in some unit, so that gradients are sums; once the items of all ranks are known they become the mean
over everything. What differs is who adds up over the ranks: nobody, we (`AddedUp`), DDP's reducer
(reducer.py), the sharded model itself (`Averaged`), or DeepSpeed (engine.py).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from nimble_lightning.adapters.distributed import gradient_sums

BackwardPass = Callable[[Tensor], None]


class NoExchange:
    """One device: there is nobody to ask."""

    def __init__(self, parameters: Sequence[nn.Parameter], backward: BackwardPass, ranks: int = 1) -> None:
        self.parameters = parameters
        self.ranks = ranks
        self._backward = backward
        self._device = parameters[0].device if parameters else torch.device("cpu")

    def pieces(self, own: int) -> int:
        """How many pieces this rank has to run, given how many it has."""
        return own

    def may_skip(self, last: bool) -> bool:
        """Whether a piece without any item need not go backward."""
        return True

    def unit(self, items: float) -> float:
        """What pieces are weighted in, given the items of the first one."""
        return items

    def backward(self, loss: Tensor, last: bool) -> Tensor | None:
        """Add to the gradients, or return the loss if that has to wait until all ranks agree."""
        self._backward(loss)
        return None

    def agree(self, failed: bool, items: float) -> tuple[bool, float]:
        """Whether any rank failed, and the items of the whole step."""
        return failed, items

    def finish(self, unit: float, items: float, total: float, held: Tensor | None) -> None:
        """From sums to the mean over all items of all ranks."""
        if total:
            gradient_sums.scale(self.parameters, unit / total)


class AddedUp(NoExchange):
    """Every rank has the whole model; gradients are summed by us once all ranks have succeeded.

    A rank that ran out of memory never leaves the others waiting, so all can try again.
    """

    bucket_mib = gradient_sums.BUCKET_MIB
    _some_missing = False

    def agree(self, failed: bool, items: float) -> tuple[bool, float]:
        missing = any(p.grad is None for p in self.parameters)
        failures, total, some_missing = gradient_sums.sums((failed, items, missing), self._device)
        self._some_missing = some_missing > 0
        return failures > 0, total

    def finish(self, unit: float, items: float, total: float, held: Tensor | None) -> None:
        super().finish(unit, items, total, held)
        used = self.parameters
        if self._some_missing:
            used = gradient_sums.used_by_any(self.parameters, self._device)
        gradient_sums.add_up(used, self.bucket_mib)


class Averaged(NoExchange):
    """The model is cut up and its parts exchange gradients in every backward pass, as a mean over ranks."""

    _unit = 0.0

    def pieces(self, own: int) -> int:
        return gradient_sums.most(own, self._device)

    def may_skip(self, last: bool) -> bool:
        return False

    def unit(self, items: float) -> float:
        # Common to all ranks; and a power of two, by which no bit changes, so that a run that is continued
        # elsewhere may find another one.
        self._unit = self._unit or 2.0 ** math.ceil(
            math.log2(gradient_sums.most(math.ceil(items), self._device))
        )
        return self._unit

    def finish(self, unit: float, items: float, total: float, held: Tensor | None) -> None:
        # Ranks that a layer is cut up over count the same samples, in the sum and in the number alike.
        (total,) = gradient_sums.sums((items,), self._device)
        gradient_sums.sum_up(self.parameters)
        if total:
            gradient_sums.scale(self.parameters, unit * self.ranks / total)


class KeptAside(Averaged):
    """FSDP: the gradients of earlier pieces are kept aside until all pieces have gone backward.

    In the forward pass a whole parameter would have the gradient of its shard, with which no model can be
    compiled.
    """

    def __init__(self, *of_alone: Any) -> None:
        super().__init__(*of_alone)
        self._kept: dict[nn.Parameter, Tensor] = {}

    def backward(self, loss: Tensor, last: bool) -> Tensor | None:
        held = super().backward(loss, last)
        for parameter in self.parameters:
            if parameter.grad is not None:
                kept = self._kept.get(parameter)
                self._kept[parameter] = parameter.grad if kept is None else kept.add_(parameter.grad)
                parameter.grad = None
        return held

    def finish(self, unit: float, items: float, total: float, held: Tensor | None) -> None:
        for parameter, gradient in self._kept.items():
            parameter.grad = gradient
        self._kept = {}
        super().finish(unit, items, total, held)
