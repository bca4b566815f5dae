"""Running out of memory: how to recognise it and how to let go of what the failed try held."""

from __future__ import annotations

import gc

import torch

_MESSAGES = (
    "out of memory",
    "can't allocate memory",
    "cannot allocate memory",
    "defaultcpuallocator",
    "cublas_status_alloc_failed",
    "cudnn_status_alloc_failed",
    "hip error: out of memory",
    "mps backend out of memory",
    "unable to find a valid cudnn algorithm",
)


def is_out_of_memory(error: BaseException) -> bool:
    """By torch's own type first; other libraries say it only in words."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(
        m in " ".join(map(str, error.args)).lower() for m in _MESSAGES
    )


def in_words(error: BaseException) -> str:
    """What happened, in one line; unlike the error itself it keeps nothing alive."""
    return str(error).partition("\n")[0] or type(error).__name__


def release() -> None:
    """Give back what the failed try held, after its exception is gone."""
    gc.collect()
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
