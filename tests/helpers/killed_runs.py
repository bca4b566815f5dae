"""Runs under a supervisor while somebody kills their processes, and digests of what comes of them."""

from __future__ import annotations

import hashlib
import json
import random
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import torch
from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra

from nimble_lightning.launch.start import start
from nimble_lightning.loggers import read_metrics
from nimble_lightning.runs.job import Job
from nimble_lightning.runs.result import Result

TRAINER = "nimble_lightning.testing.tiny:TinyTrainer"


def settings(devices: int = 1) -> list[str]:
    """Of a run that saves every third step."""
    return [
        "run_id=test",
        "callbacks.progress=null",
        "+lightning.enable_progress_bar=false",
        "callbacks.auto_retry.max_retries=50",
        "callbacks.auto_retry.save_every_n_steps=3",
        "+lightning.val_check_interval=5",
        "lightning.accelerator=cpu",
        "data.batch_size=8",
        "schedule=cosine",
        f"lightning.devices={devices}",
        *(["strategy=ddp"] if devices > 1 else []),
    ]


def job(folder: Path, *overrides: str, devices: int = 1, trainer: str = TRAINER) -> Job:
    """A run of the tiny trainer with these settings and more."""
    GlobalHydra.instance().clear()
    with initialize_config_module("nimble_lightning.conf", version_base="1.3"):
        config = compose("config", overrides=[*settings(devices), *overrides])
    return Job.from_config(config, trainer=trainer, folder=folder)


def faults(plan: str) -> list[str]:
    """The settings that add the callback with this plan."""
    return ["+callbacks.faults._target_=nimble_lightning.testing.Faults", f'+callbacks.faults.plan="{plan}"']


class Killer(threading.Thread):
    """Kills workers of a run at random moments: soon after they committed something new, or at any time.

    Never twice in a row without progress in between, or the run would be right to wait longer and longer.

    Args:
        folder: The run's.
        kills: How many.
        seed: Of the moments and of the victims.
    """

    def __init__(self, folder: Path, kills: int, seed: int) -> None:
        super().__init__(daemon=True)
        self.done = 0
        self._steps = folder / "checkpoints" / "steps"
        self._kills = kills
        self._chance = random.Random(seed)
        self._ended = threading.Event()

    def run(self) -> None:
        newest = 0
        while self.done < self._kills:
            early = self.done > 0 and self._chance.random() < 0.2
            if early:
                self._pause(0.0, 0.4)
            else:
                while (step := newest_step(self._steps)) <= newest:
                    if self._ended.wait(0.002):
                        return
                newest = step
                self._pause(0.0, 0.03)
            if self._ended.is_set():
                return
            self.done += self._kill_one()

    def _pause(self, least: float, most: float) -> None:
        self._ended.wait(self._chance.uniform(least, most))

    def _kill_one(self) -> bool:
        victims = workers()
        if not victims:
            return False
        try:
            self._chance.choice(victims).kill()
        except psutil.NoSuchProcess:
            return False
        # Its neighbours end because of it; what is shot at next has to be the next attempt.
        gone(victims)
        return True

    def stop(self) -> None:
        self._ended.set()
        self.join()


def workers() -> list[psutil.Process]:
    """The ranks this process has started, through its fork server."""
    import multiprocessing

    found = []
    for process in multiprocessing.active_children():
        with suppress(psutil.NoSuchProcess):
            worker = psutil.Process(process.pid)
            if worker.status() != psutil.STATUS_ZOMBIE:
                found.append(worker)
    return sorted(found, key=lambda process: process.pid)


def newest_step(folder: Path) -> int:
    names = (path.name for path in folder.glob("step-*.ckpt.manifest.json"))
    return max((int(name[5:13]) for name in names), default=0)


def run_and_kill(
    folder: Path, kills: int, seed: int, *overrides: str, devices: int = 1
) -> tuple[Result, int]:
    """Run to the end under fire; returns how many shots hit."""
    killer = Killer(folder, kills, seed)
    killer.start()
    try:
        result = start(job(folder, *overrides, devices=devices))
    finally:
        killer.stop()
    return result, killer.done


def digests(folder: Path) -> dict[str, str]:
    """Of weights, optimizer with schedule, and every number that was logged, at the end of a run."""
    last = max((folder / "checkpoints" / "steps").glob("step-*.ckpt"))
    saved = torch.load(last, weights_only=True)
    rows = [(row["step"], sorted(row["metrics"].items())) for row in read_metrics(folder / "metrics.jsonl")]
    return {
        "step": str(saved["global_step"]),
        "weights": digest(saved["state_dict"]),
        "optimizer": digest([saved["optimizer_states"], saved["lr_schedulers"]]),
        "losses": digest(sorted(rows, key=str)),
        "loader": digest(saved["NimbleData"]),
        "random": digest(saved["nimble"]["random"]),
    }


def digest(value: Any) -> str:
    hashed = hashlib.sha256()

    def add(item: Any) -> None:
        if isinstance(item, torch.Tensor):
            hashed.update(f"{item.dtype}{tuple(item.shape)}".encode())
            hashed.update(item.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
        elif isinstance(item, dict):
            for key in sorted(item, key=str):
                hashed.update(str(key).encode())
                add(item[key])
        elif isinstance(item, Sequence) and not isinstance(item, str):
            hashed.update(f"[{len(item)}".encode())
            for part in item:
                add(part)
        else:
            hashed.update(repr(item).encode())

    add(value)
    return hashed.hexdigest()


def bad_starts(folder: Path) -> list[str]:
    """Errors other than those of ranks whose neighbour was killed."""
    attempts = json.loads((folder / "run.json").read_text())["attempts"]
    return [a["reason"] for a in attempts if a["cause"] not in ("killed", "finished")]


def gone(processes: Sequence[psutil.Process], seconds: float = 10.0) -> bool:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if not any(map(_lives, processes)):
            return True
        time.sleep(0.02)
    return False


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
