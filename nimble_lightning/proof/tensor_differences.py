"""Two checkpoints of the same step, held against each other tensor by tensor."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch

# What a step computes, in the order in which a difference is worth reading.
_FIRST = ("state_dict", "optimizer_states", "lr_schedulers", "epoch", "global_step")
# Names, clocks, and what loggers and memory decide; nothing of it reaches the weights.
_APART = {
    "pytorch-lightning_version",
    "hyper_parameters",
    "datamodule_hyper_parameters",
    "hparams_name",
    "callbacks",
    "nimble.run_id",
    "nimble.attempt",
    "nimble.running",
    "nimble.micro_batch_size",
}
# Random states and counters are the same or they are not; on other hardware they say nothing.
_EXACT_ONLY = ("nimble.random", "loops")


def first_difference(claimed: Mapping[str, Any], replayed: Mapping[str, Any]) -> str | None:
    """Where two checkpoints differ, to the bit; None where they do not."""
    for path, one, other in pairs(claimed, replayed):
        if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
            if not _same_bits(one, other):
                return f"{path}: {_apart(one, other)}"
        elif not _equal(one, other):
            return f"{path}: {_short(one)} in the run, {_short(other)} when trained again"
    return None


def largest_difference(claimed: Mapping[str, Any], replayed: Mapping[str, Any]) -> tuple[float, str]:
    """How far the tensors of two checkpoints lie apart, relative to their size, and which lies farthest."""
    worst, where = 0.0, ""
    for path, one, other in pairs(claimed, replayed):
        if path.startswith(_EXACT_ONLY):
            continue
        distance = _distance(one, other)
        if distance > worst:
            worst, where = distance, path
    return worst, where


def pairs(claimed: Any, replayed: Any) -> Iterator[tuple[str, Any, Any]]:
    """Every value of the two that counts, by its path; one that is missing on a side is `Missing`."""
    order = [name for name in _FIRST if name in claimed or name in replayed]
    for name in [*order, *sorted({*claimed, *replayed} - set(order))]:
        yield from _walk(str(name), claimed.get(name, Missing), replayed.get(name, Missing))


class Missing:
    """Stands for a value that only one of the two has."""


def _walk(path: str, one: Any, other: Any) -> Iterator[tuple[str, Any, Any]]:
    if path in _APART:
        return
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        for key in sorted({*one, *other}, key=str):
            yield from _walk(f"{path}.{key}", one.get(key, Missing), other.get(key, Missing))
    elif isinstance(one, list | tuple) and isinstance(other, list | tuple) and len(one) == len(other):
        for index, (mine, its) in enumerate(zip(one, other, strict=True)):
            yield from _walk(f"{path}.{index}", mine, its)
    else:
        yield path, one, other


def _same_bits(one: torch.Tensor, other: torch.Tensor) -> bool:
    if one.dtype != other.dtype or one.shape != other.shape:
        return False
    return torch.equal(_bytes(one), _bytes(other))


def _bytes(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)


def _apart(one: torch.Tensor, other: torch.Tensor) -> str:
    if one.dtype != other.dtype or one.shape != other.shape:
        return f"{one.dtype} {tuple(one.shape)} in the run, {other.dtype} {tuple(other.shape)} trained again"
    count = int((_bytes(one) != _bytes(other)).view(one.numel(), -1).any(dim=1).sum())
    if one.is_complex():
        return f"{count:,} of {one.numel():,} values differ"
    largest = (one.detach().cpu().double() - other.detach().cpu().double()).abs().nan_to_num().max()
    return f"{count:,} of {one.numel():,} values differ, by up to {float(largest):.3g}"


def _equal(one: Any, other: Any) -> bool:
    if type(one) is not type(other):
        return False
    # A number that is not one is the same as itself here.
    return bool(one == other) or (isinstance(one, float) and one != one and other != other)


def _distance(one: Any, other: Any) -> float:
    tensors = isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor)
    if tensors and one.shape == other.shape and one.is_floating_point() and other.is_floating_point():
        mine, its = one.detach().cpu().double(), other.detach().cpu().double()
        scale = max(float(mine.norm()), float(its.norm()), 1e-12)
        distance = float((mine - its).norm()) / scale
        return distance if distance == distance else float("inf")
    if isinstance(one, float) and isinstance(other, float):
        return abs(one - other) / max(abs(one), abs(other), 1e-12)
    same = _same_bits(one, other) if tensors else _equal(one, other)
    return 0.0 if same else float("inf")


def _short(value: Any) -> str:
    return "nothing" if value is Missing else f"{value!r:.60}"
