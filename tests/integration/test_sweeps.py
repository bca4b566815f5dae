"""A sweep runs its members side by side, none of them twice, whoever kills what."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from textwrap import dedent

import psutil
import pytest

TRAINER = """
import os, time
import torch
from nimble_lightning import NimbleTrainer

class MyTrainer(NimbleTrainer):
    seen = []

    def pre_process(self, *, lr: float = 0.1, wait: float = 0.0):
        # Members must not find what another has left in the process.
        assert not self.seen and "LEFT_BEHIND" not in os.environ
        self.seen.append(lr)
        os.environ["LEFT_BEHIND"] = str(lr)
        self.lr, self.wait = lr, wait
        x = torch.arange(64.0).reshape(32, 2)
        self.train_data = self.eval_data = (x, x.sum(-1, keepdim=True))
        self.model = torch.nn.Linear(2, 1)

    def train(self, batch):
        time.sleep(self.wait)
        x, y = batch
        return ((self.model(x) - y) ** 2).mean()

    def evaluate(self, batch):
        x, y = batch
        return {"loss": ((self.model(x) - y) ** 2).mean(), "threads": float(torch.get_num_threads())}
"""
RATES = (1e-4, 2e-4, 3e-4, 4e-4)
SETTINGS = [
    "trainer=my_trainer.py",
    f"params.lr={','.join(map(str, RATES))}",
    "sweep_id=s",
    "data.batch_size=4",
    "optim=sgd",
    "lightning.accelerator=cpu",
    "lightning.max_epochs=2",
    "callbacks.progress=null",
    "callbacks.auto_retry.save_every_n_steps=2",
    "launch.jobs=2",
]
SWEEP = Path("outputs/my_trainer/s")


@pytest.fixture(autouse=True)
def trainer_file() -> None:
    Path("my_trainer.py").write_text(dedent(TRAINER))


def start(*more: str) -> subprocess.Popen[str]:
    words = [sys.executable, "-m", "nimble_lightning", "-m", *SETTINGS, *more]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def end(command: subprocess.Popen[str]) -> str:
    text, _ = command.communicate(timeout=150)
    assert command.returncode == 0, text
    return text


def records() -> list[dict]:
    return [json.loads((SWEEP / str(n) / "run.json").read_text()) for n in range(len(RATES))]


def figures() -> list[float]:
    return [record["metrics"]["val_loss"] for record in records()]


def wait_for(what, seconds: float = 60.0) -> None:
    until = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < until
        time.sleep(0.02)


def supervisors(command: subprocess.Popen[str]) -> list[psutil.Process]:
    """The processes that look after the members: forks of the command."""
    children = psutil.Process(command.pid).children()
    return [child for child in children if child.cmdline() == psutil.Process(command.pid).cmdline()]


def test_members_run_side_by_side_and_see_nothing_of_each_other() -> None:
    text = end(start("params.wait=0.05"))
    done = records()
    assert [record["status"] for record in done] == ["finished"] * 4, text
    assert len({record["metrics"]["val_loss"] for record in done}) == 4
    spans = sorted((a["start"], a["end"]) for record in done for a in record["attempts"])
    assert any(start < end for (_, end), (start, _) in zip(spans, spans[1:], strict=False)), "none overlapped"
    assert {record["metrics"]["threads"] for record in done} == {max(1, len(os.sched_getaffinity(0)) // 2)}
    assert "Job 3: finished" in text
    assert "params.lr=0.0004" in (SWEEP / "3" / "log.txt").read_text()


def test_a_sweep_that_is_killed_goes_on_where_it_was() -> None:
    end(start())
    expected = figures()
    subprocess.run(["rm", "-rf", str(SWEEP)], check=True)

    command = start("params.wait=0.05")
    wait_for(lambda: len(list(SWEEP.glob("*/finished.json"))) == 2)
    finished = {path.parent.name for path in SWEEP.glob("*/finished.json")}
    before = {n: json.loads((SWEEP / n / "run.json").read_text())["attempts"][0]["start"] for n in finished}
    wait_for(lambda: len(list(SWEEP.glob("*/checkpoints/steps/*.ckpt"))) > 2 * len(finished))
    command.kill()
    command.communicate()

    end(start("params.wait=0.05"))
    assert figures() == expected
    for n, begun in before.items():
        (attempt,) = json.loads((SWEEP / n / "run.json").read_text())["attempts"]
        assert attempt["start"] == begun, "it was run a second time"


def test_a_member_whose_processes_are_killed_is_started_again() -> None:
    command = start("params.wait=0.05")
    wait_for(lambda: list(SWEEP.glob("*/checkpoints/steps/*.ckpt")))
    for process in supervisors(command):
        process.send_signal(signal.SIGKILL)
    text = end(command)
    assert [record["status"] for record in records()] == ["finished"] * 4, text


@pytest.mark.slow
def test_a_sweep_that_goes_on_is_not_started_twice() -> None:
    command = start("params.wait=0.05")
    wait_for(lambda: list(SWEEP.glob("*/log.txt")))
    second = start("params.wait=0.05")
    text, _ = second.communicate(timeout=60)
    assert second.returncode == 2, text
    assert "already going on" in text
    end(command)
