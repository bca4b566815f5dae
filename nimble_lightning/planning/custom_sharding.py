"""What a trainer's own configure_model finds, a mesh, and what it would cut up, noted instead of done."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.distributed.fsdp as fsdp
from lightning.pytorch.strategies import ModelParallelStrategy
from torch import nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

from nimble_lightning.errors import RequestError
from nimble_lightning.planning.machine import Machine


@dataclass
class Noted:
    """Calls of `fully_shard`: the modules, and the type in which the last wanted them gathered."""

    modules: list[nn.Module] = field(default_factory=list)
    gathered_in: torch.dtype | None = None

    def names(self, root: nn.Module) -> tuple[str, ...]:
        known = {module: name for name, module in root.named_modules()}
        return tuple(known[module] for module in self.modules)


_real = fsdp.fully_shard
_noted: list[Noted] = []


@contextmanager
def sharding_noted() -> Iterator[Noted]:
    """Note calls of `fully_shard` in this block; files that are loaded in it get the one that notes."""
    noted = Noted()
    _noted.append(noted)
    fsdp.fully_shard = _fully_shard
    try:
        yield noted
    finally:
        _noted.remove(noted)
        fsdp.fully_shard = _real


def _fully_shard(module: Any, *args: Any, **kwargs: Any) -> Any:
    if not _noted:
        # A file that was loaded for a plan keeps this one.
        return _real(module, *args, **kwargs)
    noted, policy = _noted[-1], kwargs.get("mp_policy")
    noted.modules += module if isinstance(module, list) else [module]
    noted.gathered_in = None if policy is None else policy.param_dtype
    return module


def layers_over(strategy: ModelParallelStrategy, machine: Machine) -> int:
    """How many neighbours share each layer.

    Raises:
        RequestError: If ranks would be left over.
    """
    size = strategy._tensor_parallel_size
    layers = machine.a_node if size == "auto" else int(size)
    if machine.ranks % layers:
        raise RequestError(
            f"{machine.ranks} devices cannot be cut into groups of {layers} that share layers. "
            f"Choose a divisor: lightning.strategy.tensor_parallel_size={machine.a_node}"
        )
    return layers


def mesh_for(strategy: Any, machine: Machine) -> DeviceMesh | None:
    """What a trainer's configure_model finds in `device_mesh`; needs a process group.

    Raises:
        RequestError: If the two sizes are not those of the machine.
    """
    if not isinstance(strategy, ModelParallelStrategy) or machine.ranks == 1:
        return None
    layers = layers_over(strategy, machine)
    asked = strategy._data_parallel_size
    samples, needed = machine.nodes if asked == "auto" else int(asked), machine.ranks // layers
    if samples != needed:
        raise RequestError(
            f"{samples} groups of {layers} devices are not {machine.ranks} devices: "
            f"lightning.strategy.data_parallel_size={needed}"
        )
    return init_device_mesh("cpu", (samples, layers), mesh_dim_names=("data_parallel", "tensor_parallel"))
