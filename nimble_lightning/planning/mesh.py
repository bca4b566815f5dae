"""The mesh that Lightning's model-parallel strategy lays over the ranks: for samples, and for layers."""

from __future__ import annotations

from typing import Any

from lightning.pytorch.strategies import ModelParallelStrategy
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

from nimble_lightning.errors import RequestError
from nimble_lightning.planning.machine import Machine


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
