"""A model whose weights are cut up over ranks, whole again for the one rank that shows what it can do."""

from __future__ import annotations

from torch import nn
from torch.distributed.fsdp import FSDPModule
from torch.distributed.fsdp import FullyShardedDataParallel as FSDP1
from torch.distributed.tensor import DTensor


def gather(module: nn.Module) -> bool:
    """Give every rank all of the weights; every rank must call this.

    Returns:
        Whether one rank can use the model by itself now. Where its layers are cut in themselves, as by tensor
        parallelism, they cannot be used but by all ranks together.
    """
    for part in module.modules():
        if isinstance(part, FSDPModule):
            part.set_reshard_after_forward(False, recurse=False)
            part.unshard()
    cut = any(isinstance(parameter, DTensor) for parameter in module.parameters())
    return not cut and not any(isinstance(part, FSDP1) for part in module.modules())
