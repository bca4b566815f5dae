"""Doing one's part on every rank, so that an error of one is an error of all."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch.distributed as dist
from torch.distributed.checkpoint.api import CheckpointException

from nimble_lightning.errors import CheckpointError
from nimble_lightning.ranks import everyones, world_size

T = TypeVar("T")


@dataclass(frozen=True)
class _Trouble:
    """An error as it travels between ranks: not every exception can."""

    number: int | None
    text: str


def together(part: Callable[[], T]) -> list[T]:
    """The answers of all ranks, by rank; raises on all of them what one of them raised.

    Without it the others would wait for hours in the next collective. An error of the disk stays an OSError.
    """
    answer: T | None = None
    error: BaseException | None = None
    try:
        answer = part()
    except (Exception, CheckpointException) as raised:
        error = _cause(raised)
    all_of_them = everyones((answer, None if error is None else _told(error)))
    if error is not None:
        raise error
    for rank, (_, trouble) in enumerate(all_of_them):
        if trouble is not None:
            raise _again(trouble, rank)
    return [answer for answer, _ in all_of_them]  # type: ignore[misc]


def first_alone(part: Callable[[], T]) -> T:
    """The answer of the first rank, which alone does this, on every rank."""
    return together(lambda: part() if _is_first() else None)[0]  # type: ignore[return-value]


def _cause(error: BaseException) -> BaseException:
    """What torch's distributed checkpoint wraps, once for each rank that it happened to."""
    if isinstance(error, CheckpointException):
        return next((inner for inner, _ in error.failures.values()), error)
    return error


def _told(error: BaseException) -> _Trouble:
    if isinstance(error, OSError) and error.errno is not None:
        return _Trouble(error.errno, error.strerror or os.strerror(error.errno))
    return _Trouble(None, f"{type(error).__name__}: {error}" if str(error) else type(error).__name__)


def _again(trouble: _Trouble, rank: int) -> Exception:
    text = f"{trouble.text} (on rank {rank})"
    return CheckpointError(text) if trouble.number is None else OSError(trouble.number, text)


def _is_first() -> bool:
    return world_size() == 1 or dist.get_rank() == 0
