"""Commands that somebody else's launcher starts, several at once."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from forked_command import Command

TINY = (
    "trainer=nimble_lightning.testing.tiny:TinyTrainer",
    "lightning.accelerator=cpu",
    "+lightning.enable_progress_bar=false",
    "callbacks.progress=null",
    "callbacks.auto_retry.save_every_n_steps=3",
    "data.batch_size=8",
    "strategy=ddp",
    "name=tiny",
)
OURS = (sys.executable, "-m", "nimble_lightning")
TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2")
RUN = Path("outputs/tiny/some")


def start(*words: str, **variables: str) -> subprocess.Popen[str]:
    """A command in a process group of its own; what it says is one text."""
    return subprocess.Popen(
        words,
        env={**os.environ, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        text=True,
    )


def said_by(command: subprocess.Popen[str], seconds: float = 200.0) -> str:
    """All it said, once it has ended; what does not end is ended."""
    try:
        return command.communicate(timeout=seconds)[0]
    except subprocess.TimeoutExpired:
        os.killpg(command.pid, signal.SIGKILL)
        raise AssertionError(f"not over after {seconds:.0f} s: {command.communicate()[0]}") from None


def torchrun(*settings: str, options: Sequence[str] = ()) -> subprocess.Popen[str]:
    return start(*TORCHRUN, *options, "-m", "nimble_lightning", *TINY, *settings)


def by_hand(*settings: Sequence[str]) -> list[Command]:
    """One command for each rank, with the variables that anybody can set."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(found.getsockname()[1])}
    size = str(len(settings))
    return [
        Command(*TINY, *words, RANK=rank, WORLD_SIZE=size, LOCAL_RANK=rank, LOCAL_WORLD_SIZE=size, **where)
        for rank, words in zip(map(str, range(len(settings))), settings, strict=True)
    ]


def until(done: Callable[[], bool], seconds: float = 200.0) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if done():
            return True
        time.sleep(0.02)
    return False
