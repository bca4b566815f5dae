"""Clipping, for gradients that are cut up in any ways."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from nimble_lightning.ops.sharded_tensors import cut_alike, held


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
