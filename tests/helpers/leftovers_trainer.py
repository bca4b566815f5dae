"""A trainer with children of its own, which nobody ends, and an end that it is told."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import torch

from nimble_lightning import NimbleTrainer

AT = 7


class Leaving(NimbleTrainer):
    def pre_process(self, *, end: str = "", pause: float = 0.0):
        self.end, self.pause, self.calls = end, pause, 0
        for session in (False, True):
            subprocess.Popen(["sleep", "600"], start_new_session=session, stdout=subprocess.DEVNULL)
        # Nobody's child any more by the time this line is over.
        subprocess.run("sleep 600 > /dev/null 2>&1 &", shell=True, check=True)
        if (pid := os.fork()) == 0:
            time.sleep(600)
            os._exit(0)
        self.forked = pid
        x = torch.randn(64, 4, generator=torch.Generator().manual_seed(1))
        self.train_data = self.eval_data = (x, x.sum(1, keepdim=True))
        self.model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Dropout(0.2), torch.nn.Linear(8, 1))

    def train(self, batch):
        time.sleep(0 if os.path.exists("hurry") else self.pause)
        self.calls += 1
        if self.calls == AT and self.end:
            ENDS[self.end]()
        x, y = batch
        return ((self.model(x) - y) ** 2).mean()

    def evaluate(self, batch):
        x, y = batch
        return {"loss": ((self.model(x) - y) ** 2).mean()}


def wrong():
    raise ValueError("no such thing")


def interrupted():
    raise KeyboardInterrupt


def full():
    raise OSError(28, "No space left on device")


ENDS = {
    "wrong": wrong,
    "interrupted": interrupted,
    "full": full,
    "exit": lambda: os._exit(0),
    "quit": lambda: sys.exit(0),
    "hang": lambda: time.sleep(600),
    "crash": lambda: os.kill(os.getpid(), 11),
    "gone": lambda: [Path("moved").exists(), os.rename("outputs/leftovers/some", "moved")],
}
