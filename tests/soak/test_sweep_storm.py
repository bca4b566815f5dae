"""A sweep and a search under fire, the command itself too: nothing is lost, run twice or mixed."""

from __future__ import annotations

import json
import os
import random
import signal
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from textwrap import dedent
from typing import Any

import psutil
import pytest
from external_launchers import until
from forked_command import Command

from nimble_lightning.ops import studies
from nimble_lightning.ops.run_files import read_json
from nimble_lightning.run_folder import RunFolder
from nimble_lightning.runs.heartbeat import read

pytestmark = pytest.mark.soak

MEMBERS = int(os.environ.get("SOAK_MEMBERS", "20"))
COMMAND_KILLS = 3
CHANCE = 0.3
# A member takes about two seconds; later than that there is nothing left to hit.
LATEST_SECONDS = 2.0
LONGEST_SECONDS = 3600.0
TRAINER = """
import time
import torch
from nimble_lightning import NimbleTrainer, param

class MyTrainer(NimbleTrainer):
    def pre_process(self, *, lr: float = param(1e-3, low=1e-4, high=1e-1, log=True), wait: float = 0.0):
        self.lr, self.wait = lr, wait
        x = torch.randn(32, 4)
        self.train_data = self.eval_data = (x, x.sum(-1, keepdim=True))
        self.model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Dropout(0.2), torch.nn.Linear(8, 1))

    def train(self, batch):
        time.sleep(self.wait)
        x, y = batch
        return ((self.model(x) - y) ** 2).mean()

    def evaluate(self, batch):
        x, y = batch
        return {"loss": ((self.model(x) - y) ** 2).mean()}
"""
SETTINGS = [
    "trainer=my_trainer.py",
    "data.batch_size=4",
    "lightning.accelerator=cpu",
    "lightning.max_epochs=2",
    "callbacks.progress=null",
    "callbacks.auto_retry.save_every_n_steps=2",
    "report=false",
    "launch.jobs=2",
]
SWEEPS = Path("outputs/my_trainer")


@pytest.fixture(autouse=True)
def trainer_file() -> None:
    Path("my_trainer.py").write_text(dedent(TRAINER))


class Storm(threading.Thread):
    """Kills one attempt in three, its worker or who supervises it, at a random moment."""

    def __init__(self, command: Command, sweep: Path, chance: random.Random) -> None:
        super().__init__(daemon=True)
        self.hits = 0
        self._command, self._sweep, self._chance = command, sweep, chance
        self._seen: set[tuple[str, int]] = set()
        self._due: list[tuple[float, Path, int]] = []

    def run(self) -> None:
        while self._command.running:
            for folder in self._sweep.glob("*/"):
                attempts = read_json(RunFolder(folder).run).get("attempts", [])
                if attempts and (folder.name, len(attempts)) not in self._seen:
                    self._seen.add((folder.name, len(attempts)))
                    if self._chance.random() < CHANCE:
                        at = time.monotonic() + self._chance.uniform(0, LATEST_SECONDS)
                        self._due.append((at, folder, len(attempts)))
            for due in [due for due in self._due if due[0] < time.monotonic()]:
                self._due.remove(due)
                self.hits += self._hit(due[1], due[2])
            time.sleep(0.02)

    def _hit(self, folder: Path, attempt: int) -> bool:
        beat = read(RunFolder(folder).heartbeat(attempt, 0))
        victim = self._supervisor(folder) if self._chance.random() < 0.5 else beat and beat.pid
        if victim is None:
            return False
        try:
            os.kill(victim, signal.SIGKILL)
        except ProcessLookupError:
            return False
        return True

    def _supervisor(self, folder: Path) -> int | None:
        """The fork of the command that prints to the log of a member."""
        log = str(RunFolder(folder).log)
        try:
            forks = psutil.Process(self._command.pid).children()
            return next((fork.pid for fork in forks if os.readlink(f"/proc/{fork.pid}/fd/1") == log), None)
        except (psutil.Error, OSError):
            return None


def start(*more: str) -> Command:
    return Command("-m", *SETTINGS, *more)


def endure(sweep: Path, seed: int, *words: str) -> int:
    """Run a command to its end through the storm, itself killed some times on the way; how many were hit."""
    chance, hits = random.Random(seed), 0
    for share in [*sorted(chance.random() for _ in range(COMMAND_KILLS)), None]:
        command = start(*words)
        storm = Storm(command, sweep, chance)
        storm.start()
        if share is None:
            done = command.end(LONGEST_SECONDS)
            assert done.returncode == 0, done
        else:
            wait_for_members(share * (MEMBERS - 1), command, sweep)
            time.sleep(chance.uniform(0, LATEST_SECONDS))
            command.kill()
        storm.join()
        hits += storm.hits
    return hits


def wait_for_members(count: float, command: Command, sweep: Path) -> None:
    """Until so many have ended, or all there are."""
    until(lambda: not command.running or len(list(sweep.glob("*/finished.json"))) >= count, LONGEST_SECONDS)


def results(sweep: Path, rates: Sequence[float]) -> dict[float, tuple[float, bytes]]:
    """What each member came to, by what it was asked; it came to an end exactly once."""
    content = json.loads((sweep / "sweep.json").read_text())
    found = {}
    for member in content["members"]:
        folder = sweep / member["folder"]
        causes = [attempt["cause"] for attempt in member["attempts"]]
        assert causes.index("finished") == len(causes) - 1, causes
        (rate,) = (float(w.partition("=")[2]) for w in member["overrides"] if w.startswith("params.lr="))
        found[rate] = (member["metrics"]["val_loss"], (folder / "best" / "model.safetensors").read_bytes())
    assert list(found) == list(rates)
    assert len(content["members"]) == len(rates)
    return found


def undisturbed(rates: Sequence[float]) -> dict[float, tuple[float, bytes]]:
    done = start(f"params.lr={','.join(map(repr, rates))}", "sweep_id=calm").end(LONGEST_SECONDS)
    assert done.returncode == 0, done
    return results(SWEEPS / "calm", rates)


def trials(sweep: Path) -> list[Any]:
    address = f"sqlite:///{sweep.absolute()}/study.db"
    return list(studies.optuna().load_study(study_name=studies.NAME, storage=address).trials)


@pytest.mark.parametrize("seed", range(2))
def test_a_sweep_in_the_storm_comes_to_the_same_bits(seed: int) -> None:
    rates = [1e-3 * (1 + number) for number in range(MEMBERS)]
    words = [f"params.lr={','.join(map(repr, rates))}", "params.wait=0.1", "sweep_id=storm"]
    assert endure(SWEEPS / "storm", seed, *words) > 0
    assert results(SWEEPS / "storm", rates) == undisturbed(rates)


@pytest.mark.parametrize("seed", range(2))
def test_a_search_in_the_storm_tells_every_trial_once_and_loses_none(seed: int) -> None:
    pytest.importorskip("optuna")
    words = ["hydra/sweeper=search", "monitor=val_loss", f"hydra.sweeper.trials={MEMBERS}", "params.wait=0.1"]
    words.append("sweep_id=storm")
    assert endure(SWEEPS / "storm", seed, *words) > 0
    told = trials(SWEEPS / "storm")
    assert [trial.state.name for trial in told] == ["COMPLETE"] * MEMBERS
    rates = [trial.params["params.lr"] for trial in told]
    reached = results(SWEEPS / "storm", rates)
    assert [reached[rate][0] for rate in rates] == [trial.value for trial in told]
    assert reached == undisturbed(rates)
