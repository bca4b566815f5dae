"""The few questions about ranks that several parts ask."""

from __future__ import annotations

from typing import Any, TypeVar

import torch.distributed as dist
from torch.distributed.device_mesh import DeviceMesh

T = TypeVar("T")


def world_size() -> int:
    """The number of ranks that train together; 1 without torch.distributed."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def everyones(value: T) -> list[T]:
    """The value of each rank, by rank. Every rank must call this."""
    size = world_size()
    if size == 1:
        return [value]
    gathered: list[T | None] = [None] * size
    dist.all_gather_object(gathered, value)
    return gathered  # type: ignore[return-value]


def gathered_by_first(value: T) -> list[T]:
    """As `everyones`, for what is too large to be sent to all: only the first rank gets it."""
    size = world_size()
    if size == 1:
        return [value]
    first = dist.get_rank() == 0
    gathered: list[T | None] = [None] * size
    dist.gather_object(value, gathered if first else None)
    return gathered if first else []  # type: ignore[return-value]


def mine(values: list[T]) -> T | None:
    """This rank's entry of what `everyones` gathered; None when the number of ranks changed since."""
    if len(values) != world_size():
        return None
    return values[dist.get_rank() if len(values) > 1 else 0]


def share_of_data(strategy: Any) -> tuple[int, int]:
    """Which part of the samples is this rank's, and of how many parts.

    Not its number among all ranks: those that a layer is cut up over work on the same samples.
    """
    asked = getattr(strategy, "distributed_sampler_kwargs", None) or {}
    return asked.get("rank", 0), asked.get("num_replicas", 1)


def group_of_shares(strategy: Any) -> dist.ProcessGroup | None:
    """The ranks that have all samples together and each of them once; None where those are all ranks."""
    mesh = getattr(strategy, "device_mesh", None)
    if not isinstance(mesh, DeviceMesh) or "data_parallel" not in (mesh.mesh_dim_names or ()):
        return None
    return mesh["data_parallel"].get_group()
