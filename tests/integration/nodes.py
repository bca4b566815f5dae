"""Commands that play the nodes of one run on this machine, and a trainer that notes which samples it sees."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import psutil

TRAINER = """
import os, time
import torch
from lightning import Callback
from nimble_lightning import NimbleTrainer


class Ledger(NimbleTrainer):
    def pre_process(self, *, wait: float = 0.0, samples: int = 48):
        self.train_data = torch.arange(float(samples)).reshape(-1, 1)
        self.model = torch.nn.Sequential(torch.nn.Linear(1, 4), torch.nn.Tanh(), torch.nn.Linear(4, 1))
        self.wait = wait

    def train(self, x):
        time.sleep(self.wait)
        return (self.model(x / 48) - 0.5).pow(2).mean()


class Noting(Callback):
    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        samples = " ".join(str(int(x)) for x in batch.flatten())
        with open(f"ledger.{os.environ['RANK']}", "a") as file:
            file.write(f"{time.time()} {trainer.current_epoch} {trainer.global_step} {samples}\\n")
"""
FOLDER = Path("outputs/ledger/nodes")
SETTINGS = [
    "trainer=ledger.py:Ledger",
    "run_id=nodes",
    "+callbacks.ledger._target_=ledger.Noting",
    "callbacks.progress=null",
    "callbacks.auto_retry.save_every_n_steps=3",
    "callbacks.auto_retry.max_retries=50",
    "lightning.accelerator=cpu",
    "strategy=ddp",
    "data.batch_size=4",
    "export=null",
    "report=false",
]


_nodes: list[Node] = []


def running() -> list[Node]:
    """Those that nobody has seen end."""
    return [node for node in _nodes if node.process.returncode is None]


class Node:
    """One of the commands. In a network namespace it is a machine of its own as far as networks go."""

    def __init__(self, *settings: str, namespace: str | None = None) -> None:
        inside = ["ip", "netns", "exec", namespace] if namespace else []
        words = [*inside, sys.executable, "-m", "nimble_lightning", *SETTINGS, *settings]
        self.process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        _nodes.append(self)

    def end(self, seconds: float = 120.0) -> tuple[int, str]:
        text, _ = self.process.communicate(timeout=seconds)
        return self.process.returncode, text

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def kill(self) -> None:
        """Everything of it at once, as when its machine is switched off."""
        family = [self.process, *psutil.Process(self.process.pid).children(recursive=True)]
        for process in family:
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue
        self.process.communicate()


def several(nnodes: str, port: int, host: str = "127.0.0.1") -> list[str]:
    """The settings of a run on several nodes."""
    return ["launch=multinode", f"launch.nnodes={nnodes}", f"launch.rdzv_endpoint={host}:{port}"]


def write_trainer() -> None:
    Path("ledger.py").write_text(TRAINER)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def record() -> dict[str, Any]:
    try:
        return dict(json.loads((FOLDER / "run.json").read_text()))
    except (OSError, ValueError):
        return {}


def attempts() -> list[dict[str, Any]]:
    return list(record().get("attempts", []))


def committed() -> int:
    names = (path.name for path in FOLDER.glob("checkpoints/steps/step-*.ckpt.manifest.json"))
    return max((int(name[5:13]) for name in names), default=0)


def wait_for(what: Callable[[], Any], nodes: Sequence[Node] = (), seconds: float = 90.0) -> None:
    """Wait for something to be true while none of these ends."""
    until = time.monotonic() + seconds
    while not what():
        ended = [node for node in nodes if node.process.poll() is not None]
        assert not ended, ended[0].end()
        assert time.monotonic() < until, "waited too long"
        time.sleep(0.02)


def seen() -> dict[int, Counter[int]]:
    """How often each epoch trained on each sample, in the history that counts: what was undone does not."""
    starts = [(attempt["start"], attempt["first_step"]) for attempt in attempts()]
    epochs: dict[int, Counter[int]] = {}
    for file in Path().glob("ledger.*[0-9]"):
        for line in file.read_text().splitlines():
            at, epoch, step, *samples = line.split()
            if all(int(step) <= first for start, first in starts if start > float(at)):
                epochs.setdefault(int(epoch), Counter()).update(map(int, samples))
    return epochs
