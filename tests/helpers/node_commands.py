"""Commands that play the nodes of one run on this machine, and a trainer that notes which samples it sees."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
from forked_command import Command

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
        if not os.path.exists("hurry"):
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


class Node(Command):
    """One of the commands."""

    def __init__(self, *settings: str) -> None:
        super().__init__(*SETTINGS, *settings)


class Machine:
    """One that can be switched off; in a network namespace it is one of its own as far as networks go."""

    def __init__(self, *settings: str, namespace: str | None = None) -> None:
        inside = ["ip", "netns", "exec", namespace] if namespace else []
        words = [*inside, sys.executable, "-m", "nimble_lightning", *SETTINGS, *settings]
        self._process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        _machines.append(self)

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def end_with(self, code: int) -> str:
        text, _ = self._process.communicate(timeout=150)
        assert self._process.returncode == code, text
        return text

    def kill(self) -> None:
        """All that runs on it at once."""
        family = [self._process, *psutil.Process(self._process.pid).children(recursive=True)]
        for process in family:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self._process.communicate()


_machines: list[Machine] = []


def switch_off() -> None:
    """All that nobody has seen end."""
    for machine in _machines:
        if machine.running:
            machine.kill()
    _machines.clear()


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


def together() -> int:
    """How many take part in the attempt that goes on."""
    return len(attempts()[-1].get("nodes", ("",)))


def committed() -> int:
    names = (path.name for path in FOLDER.glob("checkpoints/steps/step-*.ckpt.manifest.json"))
    return max((int(name[5:13]) for name in names), default=0)


def wait_for(what: Callable[[], Any], nodes: Sequence[Node | Machine] = (), seconds: float = 90.0) -> None:
    """Wait for something to be true while none of these ends."""
    until = time.monotonic() + seconds
    while not what():
        ended = [node for node in nodes if not node.running]
        assert not ended, ended[0].end_with(-1)
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
