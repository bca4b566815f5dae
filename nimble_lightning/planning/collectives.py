"""What ranks that share layers send each other while they compute."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch._C._distributed_c10d import _resolve_process_group

_OPS = torch.ops._c10d_functional
_SUMS = {_OPS.all_reduce.default, _OPS.all_reduce_.default}
_GATHERS = {_OPS.all_gather_into_tensor.default}
_DEALS = {_OPS.reduce_scatter_tensor.default, _OPS.all_to_all_single.default}
WAIT = _OPS.wait_tensor.default


def bytes_sent(operation: Any, args: tuple[Any, ...], out: Any) -> int:
    """What one rank sends in an operation, at least; 0 where it is none that sends.

    Of n ranks that add up or put together S bytes each sends S (n-1)/n; adding up for everybody is both.
    """
    if operation not in _SUMS | _GATHERS | _DEALS:
        return 0
    ranks = _resolve_process_group(args[-1]).size()
    whole: Tensor = out if operation in _GATHERS else args[0]
    return (2 if operation in _SUMS else 1) * whole.nbytes * (ranks - 1) // ranks
