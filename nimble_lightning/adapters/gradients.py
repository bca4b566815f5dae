"""Gradients over ranks: agree on how the step went, then add them up.

The ranks agree *before* gradients travel, so one that ran out of memory never leaves the others waiting in a
collective.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
import torch.distributed as dist
from torch import Tensor, nn

BUCKET_BYTES = 25 * 2**20


def agree(failed: bool, count: float, device: torch.device) -> tuple[bool, float]:
    """Whether any rank failed, and the number of items of the whole step."""
    vote = torch.tensor(
        [float(failed), count], dtype=torch.float32 if device.type == "mps" else torch.float64, device=device
    )
    dist.all_reduce(vote)
    anyone, total = vote.tolist()
    return anyone > 0, total


def add_up(parameters: Sequence[nn.Parameter]) -> None:
    """Sum gradients over ranks in buckets that travel while the next one is packed. A missing gradient counts
    as zero."""
    waiting: list[tuple[dist.Work, Tensor, list[Tensor]]] = []
    for bucket in _buckets(parameters):
        flat = torch._utils._flatten_dense_tensors(bucket)
        waiting.append((dist.all_reduce(flat, async_op=True), flat, bucket))
    for work, flat, bucket in waiting:
        work.wait()
        torch._foreach_copy_(bucket, list(torch._utils._unflatten_dense_tensors(flat, bucket)))


def scale(parameters: Iterable[nn.Parameter], factor: float) -> None:
    if factor != 1.0:
        torch._foreach_mul_([p.grad for p in parameters if p.grad is not None], factor)


def set_aside(parameters: Iterable[nn.Parameter]) -> list[tuple[nn.Parameter, Tensor]]:
    """Take the gradients out of the parameters, so that a batch that has to be redone cannot spoil them."""
    taken = [(p, p.grad) for p in parameters if p.grad is not None]
    for p, _ in taken:
        p.grad = None
    return taken


def put_back(taken: list[tuple[nn.Parameter, Tensor]]) -> None:
    for p, earlier in taken:
        p.grad = earlier if p.grad is None else p.grad.add_(earlier)


def _buckets(parameters: Sequence[nn.Parameter]) -> Iterable[list[Tensor]]:
    bucket: list[Tensor] = []
    size = 0
    for p in parameters:
        if not p.requires_grad:
            continue
        if p.grad is None:
            p.grad = torch.zeros_like(p)
        if bucket and (
            size >= BUCKET_BYTES or p.grad.dtype != bucket[0].dtype or p.grad.device != bucket[0].device
        ):
            yield bucket
            bucket, size = [], 0
        bucket.append(p.grad)
        size += p.grad.numel() * p.grad.element_size()
    if bucket:
        yield bucket
