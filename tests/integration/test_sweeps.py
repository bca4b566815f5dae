"""A sweep runs its members side by side, none of them twice, whoever kills what."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path
from textwrap import dedent

import psutil
import pytest
from external_launchers import until
from forked_command import Command

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


def start(*more: str) -> Command:
    return Command("-m", *SETTINGS, *more)


def records() -> list[dict]:
    return [json.loads((SWEEP / str(n) / "run.json").read_text()) for n in range(len(RATES))]


def figures() -> list[float]:
    return [record["metrics"]["val_loss"] for record in records()]


def supervisors(command: Command) -> list[psutil.Process]:
    """The processes that look after the members: forks of the command."""
    return psutil.Process(command.pid).children()


def test_members_run_side_by_side_and_see_nothing_of_each_other() -> None:
    text = start("params.wait=0.05").end_with(0)
    done = records()
    assert [record["status"] for record in done] == ["finished"] * 4, text
    assert len({record["metrics"]["val_loss"] for record in done}) == 4
    spans = sorted((a["start"], a["end"]) for record in done for a in record["attempts"])
    assert any(start < end for (_, end), (start, _) in zip(spans, spans[1:], strict=False)), "none overlapped"
    assert {record["metrics"]["threads"] for record in done} == {max(1, len(os.sched_getaffinity(0)) // 2)}
    assert "Job 3: finished" in text
    assert "params.lr=0.0004" in (SWEEP / "3" / "log.txt").read_text()


def test_a_sweep_that_is_killed_goes_on_where_it_was() -> None:
    start().end_with(0)
    expected = figures()
    shutil.rmtree(SWEEP)

    command = start("params.wait=0.05")
    assert until(lambda: len(list(SWEEP.glob("*/finished.json"))) == 2)
    finished = {path.parent.name for path in SWEEP.glob("*/finished.json")}
    before = {n: json.loads((SWEEP / n / "run.json").read_text())["attempts"][0]["start"] for n in finished}
    assert until(lambda: len(list(SWEEP.glob("*/checkpoints/steps/*.ckpt"))) > 2 * len(finished))
    command.kill()

    start("params.wait=0.05").end_with(0)
    assert figures() == expected
    for n, begun in before.items():
        (attempt,) = json.loads((SWEEP / n / "run.json").read_text())["attempts"]
        assert attempt["start"] == begun, "it was run a second time"


@pytest.mark.slow
def test_a_member_whose_processes_are_killed_is_started_again() -> None:
    command = start("params.wait=0.05")
    assert until(lambda: list(SWEEP.glob("*/checkpoints/steps/*.ckpt")))
    for process in supervisors(command):
        process.send_signal(signal.SIGKILL)
    text = command.end_with(0)
    assert [record["status"] for record in records()] == ["finished"] * 4, text


@pytest.mark.slow
def test_a_sweep_that_goes_on_is_not_started_twice() -> None:
    command = start("params.wait=0.05")
    assert until(lambda: list(SWEEP.glob("*/log.txt")))
    assert "already going on" in start("params.wait=0.05").end_with(2)
    command.end_with(0)


def test_a_sweep_that_is_asked_again_has_no_figures_under_other_values() -> None:
    def asked(rates: str, *more: str) -> Command:
        words = [word for word in SETTINGS if not word.startswith("params.lr")]
        return Command("-m", *words, f"params.lr={rates}", *more)

    asked("1e-4,2e-4").end_with(0)
    asked("3e-4,2e-4").end_with(0)
    members = json.loads((SWEEP / "sweep.json").read_text())["members"]
    figures = {member["overrides"][0]: member["metrics"]["val_loss"] for member in members}
    assert len(figures) == len(set(figures.values())) == 3
    for member in members:
        rate = member["overrides"][0].partition("=")[2]
        assert f"lr: {rate}\n" in (SWEEP / member["folder"] / "job.yaml").read_text()
        assert len(member["attempts"]) == 1
    told = asked("3e-4,2e-4", "seed=1").end_with(2)
    assert "The sweep s has other settings" in told
    assert "\n  seed: 0 then, 1 now\n" in told
    assert "lightning.max_epochs: 2 then, 3 now" in asked("3e-4", "lightning.max_epochs=3").end_with(2)
    asked("1e-4,2e-4,3e-4", "lightning.max_epochs=3").end_with(0)
    members = json.loads((SWEEP / "sweep.json").read_text())["members"]
    assert [member["metrics"]["global_step"] for member in members] == [24, 24, 24]
