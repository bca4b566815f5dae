"""Tensors of which a process may hold a part only: their norms, and clipping by them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.distributed._functional_collectives import AsyncCollectiveTensor
from torch.distributed.tensor import DTensor, Replicate

T = TypeVar("T")


def held(tensor: Tensor) -> Tensor:
    """What of it is here."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def has_cut_layers(module: nn.Module) -> bool:
    """Whether parameters of a module are already sharded over a device mesh."""
    return any(isinstance(parameter, DTensor) for parameter in module.parameters())


def summed(tensor: Tensor) -> Tensor:
    """The tensor itself, where each rank has a summand of it; all ranks it is cut up over must call this."""
    if not isinstance(tensor, DTensor) or not any(place.is_partial() for place in tensor.placements):
        return tensor
    return tensor.redistribute(placements=[Replicate() if p.is_partial() else p for p in tensor.placements])


def cut_alike(items: Iterable[T], tensor_of: Callable[[T], Tensor]) -> list[list[T]]:
    """In groups of one kind, whole or cut up over the same ranks: torch works on no others at once."""
    groups: dict[Any, list[T]] = {}
    for item in items:
        tensor = tensor_of(item)
        groups.setdefault(tensor.device_mesh if isinstance(tensor, DTensor) else None, []).append(item)
    return list(groups.values())


def works_on_whole(types: Iterable[type]) -> bool:
    """Whether an operation is on sharded tensors.

    A mode that refuses it sees the operation on the shards instead.
    """
    return any(issubclass(kind, DTensor | AsyncCollectiveTensor) for kind in types)


def pretended() -> int:
    """How many blocks there are around this moment in which tensors have no values.

    Before torch works on parts for the first time it tries the operation on whole tensors, in such a block.
    """
    mode: Any = torch._C._get_dispatch_mode(torch._C._TorchDispatchModeKey.FAKE)
    return 0 if mode is None else len(mode.enter_stack)


def total_norm(gradients: Sequence[Tensor]) -> Tensor:
    """The same on every rank; it stays on the device. Every rank must call this."""
    norms = []
    for group in cut_alike(gradients, lambda gradient: gradient):
        norm = nn.utils.get_total_norm(group)
        norms.append(norm.full_tensor() if isinstance(norm, DTensor) else norm)
    return norms[0] if len(norms) == 1 else torch.linalg.vector_norm(torch.stack(norms))


def clip_norm(gradients: Sequence[Tensor], most: float) -> Tensor:
    """Scale all of them, so that their norm is no larger; returns what it was."""
    norm = total_norm(gradients)
    factor = (most / (norm + 1e-6)).clamp(max=1.0)
    torch._foreach_mul_([held(gradient) for gradient in gradients], factor)
    return norm


def clip_value(gradients: Sequence[Tensor], most: float) -> None:
    """Let no element of them be further from zero."""
    if not gradients:
        return
    parts = [held(gradient) for gradient in gradients]
    torch._foreach_clamp_min_(parts, -most)
    torch._foreach_clamp_max_(parts, most)
