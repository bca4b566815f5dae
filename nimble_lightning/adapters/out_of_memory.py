"""Running out of memory: how to recognise it and how to let go of what the failed try held."""

from __future__ import annotations

import gc

import torch

from nimble_lightning.ops.failures import says_out_of_memory


def is_out_of_memory(error: BaseException) -> bool:
    """By torch's own type first; other libraries say it only in words."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and says_out_of_memory(" ".join(map(str, error.args)))


def in_words(error: BaseException) -> str:
    """What happened, in one line; unlike the error itself it keeps nothing alive."""
    return str(error).partition("\n")[0] or type(error).__name__


def release() -> None:
    """Give back what the failed try held, after its exception is gone."""
    gc.collect()
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
