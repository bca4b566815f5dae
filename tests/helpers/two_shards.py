"""One of two real ranks that hold half of a model each."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor


def measured(rank: int, store: str) -> dict[str, int]:
    """The bytes of parameters, gradients and optimizer state on this rank after a step."""
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    model = nn.Sequential(nn.Linear(64, 63), nn.Linear(63, 10))
    fully_shard(model, mesh=init_device_mesh("cpu", (2,)))
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.zeros(4, 64)).sum().backward()
    optimizer.step()
    parameters = list(model.parameters())
    kept = [t for p in parameters for t in optimizer.state[p].values() if t.dim() > 0]
    found = {
        "parameters": sum(map(_local, parameters)),
        "gradients": sum(_local(p.grad) for p in parameters),
        "optimizer": sum(map(_local, kept)),
    }
    dist.destroy_process_group()
    return found


def _local(tensor: torch.Tensor | None) -> int:
    assert isinstance(tensor, DTensor)
    return int(tensor.to_local().nbytes)
