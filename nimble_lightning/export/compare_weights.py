"""Weights compared: with what they were before training, and bit for bit with what was read back."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy


def fingerprint(module: nn.Module) -> dict[str, int]:
    """A number for each parameter, the same for the same bits; reads the weights once and copies nothing.

    A plain sum of the bits as integers: enough to notice that nothing was learned, and no proof of anything.
    """
    return {
        name: int(_integers(parameter).sum(dtype=torch.int64))
        for name, parameter in module.named_parameters()
        if not is_lazy(parameter) and not parameter.is_meta
    }


def untouched(module: nn.Module, base: Mapping[str, int] | None) -> bool:
    """Whether no parameter differs from what it was; False where that is not known."""
    return bool(base) and fingerprint(module) == base


def first_difference(wanted: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> str | None:
    """The first entry that is missing or has other bits, as a clause; None where all are the same."""
    for name, value in wanted.items():
        other = found.get(name)
        if other is None:
            return f"{name} is missing"
        if other.shape != value.shape or other.dtype != value.dtype:
            return f"{name} is {_kind(other)} instead of {_kind(value)}"
        if not torch.equal(_integers(other.cpu()), _integers(value.cpu())):
            return f"{name} has other values"
    return None


def sizes(module: nn.Module) -> dict[str, torch.Size]:
    """The shape of each parameter that is there."""
    return {name: p.shape for name, p in module.named_parameters() if not is_lazy(p)}


def is_sharded(module: nn.Module) -> bool:
    """Whether this process holds only a part of the weights."""
    return any(hasattr(p, "device_mesh") or hasattr(p, "_sharding_spec") for p in module.parameters())


def _kind(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"


_SAME_SIZE = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def _integers(tensor: Tensor) -> Tensor:
    """The bits of a tensor as whole numbers: there, unlike among floats, every value equals itself."""
    flat = tensor.detach().reshape(-1)
    if flat.is_complex():
        flat = torch.view_as_real(flat).reshape(-1)
    return flat if flat.dtype == torch.bool else flat.view(_SAME_SIZE[flat.element_size()])
