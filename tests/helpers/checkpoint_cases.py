"""Checkpoints to save, and faults to save them under."""

from __future__ import annotations

import os
import signal
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from nimble_lightning.checkpoint.io import NimbleCheckpointIO


def state(step: int, *, size: int = 2_000, run_id: str = "run") -> dict[str, Any]:
    generator = torch.Generator().manual_seed(step)
    return {
        "state_dict": {"weight": torch.randn(size, generator=generator)},
        "global_step": step,
        "epoch": step // 10,
        "nimble": {"run_id": run_id, "samples": 32 * step, "attempt": 1},
    }


def save(path: Path, step: int, **kwargs: Any) -> Path:
    NimbleCheckpointIO().save_checkpoint(state(step, **kwargs), path)
    return path


def in_fork(body: Callable[[], None]) -> int:
    """The wait status of a child process that ran ``body``; 0 if it came to the end, 1 if it raised."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        code = 1
        try:
            body()
            code = 0
        finally:
            os._exit(code)
    return os.waitpid(pid, 0)[1]


def kill_at(stage: str) -> Callable[[str], None]:
    def hook(reached: str) -> None:
        if reached == stage:
            os.kill(os.getpid(), signal.SIGKILL)

    return hook


def fail_at(stage: str, number: int) -> Callable[[str], None]:
    def hook(reached: str) -> None:
        if reached == stage:
            raise OSError(number, os.strerror(number))

    return hook
