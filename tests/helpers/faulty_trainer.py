"""A small trainer that meets the misfortune it is told to meet, and what tests need to aim at its moments."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import nimble_lightning as nl
from nimble_lightning import NimbleTrainer
from nimble_lightning.runs.heartbeat import Beat, read
from nimble_lightning.runs.result import Result

NAME = "faulty"
# Calls until the misfortune; no attribute, which the next attempt would go on with.
COUNTDOWN = [0]


class Faulty(NimbleTrainer):
    """Linear regression; at call number `at` of `train` on `rank`, `fault` happens, on the first attempts."""

    def pre_process(
        self,
        *,
        fault: str = "",
        at: int = 13,
        rank: int = 0,
        attempts: int = 1,
        pause: float = 0.02,
        load: float = 0.0,
    ):
        time.sleep(load)
        torch.set_num_threads(1)
        x = torch.randn(400, 4, generator=torch.Generator().manual_seed(1))
        self.train_data, self.eval_data = (x, x.sum(1, keepdim=True)), (x[:160], x[:160].sum(1, keepdim=True))
        self.model, self.lr, self.pause = torch.nn.Linear(4, 1), 0.01, pause
        mine = int(os.environ.get("RANK", 0)) == rank
        COUNTDOWN[0] = at if fault and mine and self.tries() <= attempts else 0
        self.fault = fault

    def tries(self) -> int:
        """How often this rank was started; counted in a file, which outlives it."""
        with open(f"tries-{os.environ.get('RANK', 0)}", "a+") as file:
            file.write("x")
            return file.tell()

    def train(self, batch):
        COUNTDOWN[0] -= 1
        if COUNTDOWN[0] == 0:
            FAULTS[self.fault]()
        self.rest()
        x, y = batch
        return ((self.model(x) - y) ** 2).mean()

    def rest(self) -> None:
        """Long enough to be met in the middle of things, until all that is to be seen was seen."""
        if not os.path.exists("hurry"):
            time.sleep(self.pause)

    def evaluate(self, batch):
        self.rest()
        x, y = batch
        return {"loss": ((self.model(x) - y) ** 2).mean()}


def deadlock() -> None:
    lock = threading.Lock()
    lock.acquire()
    lock.acquire()


def busy() -> None:
    # One call into C that never comes back to where Python could handle a signal.
    sum(iter(int, 1))


def raises(error: BaseException) -> Callable[[], None]:
    def fail() -> None:
        raise error

    return fail


FAULTS: dict[str, Callable[[], Any]] = {
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "crash": lambda: os.kill(os.getpid(), signal.SIGSEGV),
    "stop": lambda: os.kill(os.getpid(), signal.SIGSTOP),
    "deadlock": deadlock,
    "busy": busy,
    "boom": raises(RuntimeError("boom")),
    "value": raises(ValueError("no such thing")),
    "quit": raises(SystemExit(0)),
    "leave": lambda: os._exit(0),
    "nan": raises(FloatingPointError("the gradient is nan")),
}


def train(run_id: str = "some", ranks: int = 1, retry: dict[str, Any] | None = None, **params: Any) -> Result:
    """Run the trainer in workers, saving every five steps."""
    ddp = {"strategy": "ddp"} if ranks > 1 else {}
    quiet = {"enable_model_summary": False, "num_sanity_val_steps": 0}
    return nl.run(
        f"{__file__}:Faulty",
        params=params,
        run_id=run_id,
        name=NAME,
        lightning={"max_epochs": 2, "accelerator": "cpu", "devices": ranks, **quiet, **ddp},
        callbacks={"progress": None, "auto_retry": {"save_every_n_steps": 5, **(retry or {})}},
        logger="none",
        check=False,
    )


def beats(run_id: str = "some") -> list[Beat]:
    """The last signs of life of a run's workers, by rank."""
    files = sorted(Path("outputs", NAME, run_id).glob(".heartbeat-*"), key=lambda path: path.suffix)
    return [beat for path in files if (beat := read(path)) is not None]


def when(
    moment: Callable[[Beat], bool], then: Callable[[list[Beat]], Any], ranks: int = 1
) -> threading.Thread:
    """Do something, from a thread, as soon as a run has come to a moment on every rank."""

    def watch() -> None:
        until = time.monotonic() + 60
        while time.monotonic() < until:
            found = beats()
            if len(found) == ranks and all(moment(beat) for beat in found):
                then(found)
                return
            time.sleep(0.002)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    return thread
