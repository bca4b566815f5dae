"""Floating-point operations of a training step, counted while it happens: nothing is run for it."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry
from typing_extensions import override

from nimble_lightning.ops.sharded_tensors import pretended, works_on_whole


class FlopCounter(TorchDispatchMode):
    """Adds up what the operations inside it take, forward and backward, by PyTorch's own formulas.

    Every operation runs exactly as it would; there is no second pass, no copy and no random number. What has
    no formula (element-wise operations, kernels of one's own) counts nothing. Activations that are computed
    again count again.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.total = 0
        self._counting = False

    def begin(self) -> None:
        """Count from here on, in this thread and in the backward passes it starts."""
        if not self._counting:
            self.__enter__()  # type: ignore[no-untyped-call]
            self._counting = True

    def end(self) -> None:
        if self._counting:
            self._counting = False
            self.__exit__(None, None, None)  # type: ignore[no-untyped-call]

    @override
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if works_on_whole(types):
            return NotImplemented
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        formula = None if pretended() else flop_registry.get(getattr(func, "_overloadpacket", None))
        if formula is not None:
            self.total += formula(*args, **kwargs, out_val=out)
        return out


def countable(module: torch.nn.Module) -> bool:
    """Whether operations can be seen one by one; those of a compiled module cannot."""
    return not any(
        getattr(part, "_compiled_call_impl", None) is not None or hasattr(part, "_orig_mod")
        for part in module.modules()
    )
