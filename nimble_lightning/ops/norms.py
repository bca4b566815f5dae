"""The norm of all gradients together, and clipping by it, for gradients that are cut up in any ways."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor


def total_norm(gradients: Sequence[Tensor]) -> Tensor:
    """The same on every rank; it stays on the device. Every rank must call this."""
    norms = []
    for group in _cut_alike(gradients):
        norm = nn.utils.get_total_norm(group)
        norms.append(norm.full_tensor() if isinstance(norm, DTensor) else norm)
    return norms[0] if len(norms) == 1 else torch.linalg.vector_norm(torch.stack(norms))


def clip_norm(gradients: Sequence[Tensor], most: float) -> None:
    """Scale all of them, so that their norm is no larger."""
    if not gradients:
        return
    factor = (most / (total_norm(gradients) + 1e-6)).clamp(max=1.0)
    held = [g.to_local() if isinstance(g, DTensor) else g for g in gradients]
    torch._foreach_mul_(held, factor)


def _cut_alike(gradients: Sequence[Tensor]) -> list[list[Tensor]]:
    """Those of one kind: torch takes no others at once."""
    groups: dict[object, list[Tensor]] = {}
    for gradient in gradients:
        groups.setdefault(gradient.device_mesh if isinstance(gradient, DTensor) else None, []).append(
            gradient
        )
    return list(groups.values())
