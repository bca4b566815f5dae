"""Gradients over ranks: agree on how the step went, then add them up.

The ranks agree *before* gradients travel, so one that ran out of memory never leaves the others waiting in a
collective.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
import torch.distributed as dist
from torch import Tensor, nn

from nimble_lightning.ops.sharded_tensors import held, summed

BUCKET_MIB = 25.0


def sums(values: Sequence[float], device: torch.device) -> list[float]:
    """The sum over all ranks of each number."""
    vote = torch.tensor(values, dtype=torch.float32 if device.type == "mps" else torch.float64, device=device)
    dist.all_reduce(vote)
    return list(vote.tolist())


def most(value: int, device: torch.device) -> int:
    """The largest number of any rank."""
    vote = torch.tensor(value, device=device)
    dist.all_reduce(vote, op=dist.ReduceOp.MAX)
    return int(vote)


def add_up(parameters: Sequence[nn.Parameter], bucket_mib: float = BUCKET_MIB) -> None:
    """Sum gradients over ranks in buckets that travel while the next one is packed.

    A missing gradient counts as zero.
    """
    waiting: list[tuple[dist.Work, Tensor, list[Tensor]]] = []
    for bucket in _buckets(parameters, bucket_mib * 2**20):
        flat = torch._utils._flatten_dense_tensors(bucket)
        waiting.append((dist.all_reduce(flat, async_op=True), flat, bucket))
    for work, flat, bucket in waiting:
        work.wait()
        torch._foreach_copy_(bucket, list(torch._utils._unflatten_dense_tensors(flat, bucket)))


def used_by_any(parameters: Sequence[nn.Parameter], device: torch.device) -> list[nn.Parameter]:
    """Those with a gradient on some rank: the others are to be left alone, as on a single device."""
    used = torch.tensor([p.grad is not None for p in parameters], dtype=torch.uint8, device=device)
    dist.all_reduce(used, op=dist.ReduceOp.MAX)
    return [p for p, by_any in zip(parameters, used.tolist(), strict=True) if by_any]


def scale(parameters: Iterable[nn.Parameter], factor: float) -> None:
    """Multiply gradients, of which each rank may hold a part only."""
    if factor != 1.0 and (parts := [held(p.grad) for p in parameters if p.grad is not None]):
        torch._foreach_mul_(parts, factor)


def sum_up(parameters: Iterable[nn.Parameter]) -> None:
    """Add up gradients of which ranks have a summand each, as those of norms over parts of a sequence.

    Torch would do it by itself, but again for everything that looks at a gradient.
    """
    for p in parameters:
        if p.grad is not None:
            p.grad = summed(p.grad)


def set_aside(parameters: Iterable[nn.Parameter]) -> list[tuple[nn.Parameter, Tensor]]:
    """Take the gradients out of the parameters, so that a batch that has to be redone cannot spoil them."""
    taken = [(p, p.grad) for p in parameters if p.grad is not None]
    for p, _ in taken:
        p.grad = None
    return taken


def put_back(taken: list[tuple[nn.Parameter, Tensor]]) -> None:
    """Add the gradients that were taken away to those that have come since."""
    for p, earlier in taken:
        p.grad = earlier if p.grad is None else p.grad.add_(earlier)


def _buckets(parameters: Sequence[nn.Parameter], most_bytes: float) -> Iterable[list[Tensor]]:
    bucket: list[Tensor] = []
    size = 0
    for p in parameters:
        if not p.requires_grad:
            continue
        if p.grad is None:
            p.grad = torch.zeros_like(p)
        if bucket and (
            size >= most_bytes or p.grad.dtype != bucket[0].dtype or p.grad.device != bucket[0].device
        ):
            yield bucket
            bucket, size = [], 0
        bucket.append(p.grad)
        size += p.grad.numel() * p.grad.element_size()
    if bucket:
        yield bucket
