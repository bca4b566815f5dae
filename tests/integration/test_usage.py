"""The account of runs that were killed, stopped, started again, and done on several ranks."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from forked_command import run
from killed_runs import faults, job, workers

from nimble_lightning.launch.start import start
from nimble_lightning.notifications import events
from nimble_lightning.usage.rank_record import pieces

REPORT = "+callbacks.usage_report._target_=nimble_lightning.callbacks.UsageReport"
EXAMPLES = Path(__file__).parents[2] / "examples"


def usage(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "usage.json").read_text())


class Watch(threading.Thread):
    """Sees from outside how long each worker lived."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._lives: dict[int, tuple[float, float]] = {}
        self._ended = threading.Event()

    def run(self) -> None:
        while not self._ended.wait(0.005):
            for worker in workers():
                if worker.is_running():
                    born, _ = self._lives.get(worker.pid, (time.time(), 0.0))
                    self._lives[worker.pid] = born, time.time()

    def seconds(self) -> float:
        self._ended.set()
        self.join()
        return sum(end - start for start, end in self._lives.values())


def test_five_kills_leave_an_account_of_every_second(tmp_path: Path) -> None:
    kills = "; ".join(f"kill@step={10 * n + 4},attempt={n}" for n in range(1, 6))
    watch = Watch()
    watch.start()
    settings = ["+params.samples=240", "+params.step_seconds=0.03", "lightning.max_epochs=3"]
    result = start(job(tmp_path, REPORT, *settings, *faults(kills)))
    lived = watch.seconds()
    assert len(result.attempts) == 6
    account = usage(tmp_path)
    recorded = sum(a["end"] - a["start"] for a in result.attempts)
    assert account["device_seconds"] == pytest.approx(recorded, rel=0.01)
    assert account["device_seconds"] >= lived * 0.99, "no worker lived longer than is accounted for"
    assert sum(account["time"].values()) == pytest.approx(account["wall_seconds"], rel=0.01)
    assert account["attempts"] == 6
    assert account["steps"] == 90, "what was done again counts once"
    assert account["samples"] == pytest.approx(720, rel=0.01)
    again = sum(
        a["last_step"] - b["first_step"] for a, b in zip(result.attempts, result.attempts[1:], strict=False)
    )
    assert account["lost_steps"] == again > 0
    assert account["time"]["lost"] > 0
    assert account["time"]["step"] >= 90 * 0.03 * 0.9
    assert account["final"]
    assert account["energy_kwh"]["total"]["value"] > 0


def test_a_whole_run_of_the_digits_is_accounted_for_and_shown() -> None:
    settings = ["callbacks.usage_report=true", "callbacks.usage_report.grid=SE", "lightning.max_epochs=2"]
    prices = ["callbacks.usage_report.prices.gpu_hour=36", "callbacks.usage_report.prices.currency=EUR"]
    done = run(f"trainer={EXAMPLES / 'digits.py'}", "run_id=it", *settings, *prices)
    assert done.returncode == 0, done.stderr
    folder = Path("outputs/digits/it")
    account = usage(folder)
    assert (account["name"], account["run_id"], account["final"]) == ("digits", "it", True)
    assert account["samples"] == 2 * 1437
    assert account["flops"]["value"] > 1e9
    assert account["cost"]["amount"]["value"] == pytest.approx(account["device_seconds"] / 100, rel=1e-3)
    assert "Sweden" in account["co2e_kg"]["note"]
    assert "90 steps, 2,874 samples" in done.stdout
    assert "90 steps, 2,874 samples" in (folder / "log.txt").read_text()
    summed = subprocess.run(
        [Path(sys.executable).with_name("nimble-cli"), "usage", "outputs", "--by", "project"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert re.search(r"digits +1 .* 2,874 ", summed.stdout), summed.stdout + summed.stderr


def test_a_used_up_budget_commits_and_is_not_tried_again(tmp_path: Path) -> None:
    slow = [
        "+params.step_seconds=0.05",
        "lightning.max_epochs=500",
        "callbacks.auto_retry.save_every_n_steps=null",
    ]
    result = start(job(tmp_path, REPORT, "+callbacks.usage_report.budget.max_time=4s", *slow))
    assert result.status == "stopped"
    assert len(result.attempts) == 1
    record = json.loads((tmp_path / "run.json").read_text())
    assert "the budget is used up: max_time is 4 s" in record["message"]
    committed = max((tmp_path / "checkpoints" / "steps").glob("step-*.ckpt"))
    assert record["attempts"][0]["last_step"] == int(committed.stem[5:]) > 0
    assert [event.kind for event in events.read(tmp_path)].count("budget") == 1


def test_two_ranks_share_an_account_and_a_budget(tmp_path: Path) -> None:
    slow = ["+params.step_seconds=0.05", "+params.samples=960", "lightning.max_epochs=500"]
    limit = "+callbacks.usage_report.budget.max_time=6s"
    result = start(job(tmp_path, REPORT, limit, *slow, devices=2))
    assert result.status == "stopped", result.message
    assert "budget" in result.message
    account = usage(tmp_path)
    assert account["devices"] == [{"name": "cpu", "count": 2}]
    assert account["device_seconds"] == pytest.approx(2 * account["wall_seconds"], rel=0.01)
    assert [piece.rank for piece in pieces(tmp_path)] == [0, 1]
    assert account["samples"] == pytest.approx(16 * account["steps"], rel=0.1)


def test_a_trainer_that_trains_by_itself_is_accounted_for(tmp_path: Path) -> None:
    source = tmp_path / "own.py"
    source.write_text(
        "import time\n"
        "class Own:\n"
        "    def pre_process(self, **kwargs): pass\n"
        "    def train(self, **kwargs): time.sleep(0.5)\n"
        "    def evaluate(self, **kwargs): return {'score': 1.0}\n"
        "    def predict_and_show(self, **kwargs): pass\n"
    )
    result = start(job(tmp_path / "run", REPORT, trainer=f"{source}:Own"))
    assert result.status == "finished", result.message
    account = usage(tmp_path / "run")
    assert account["time"]["other"] >= 0.5
    assert account["goodput"] is None, "nobody knows what its steps were"
    assert account["energy_kwh"]["total"]["value"] > 0


SCRIPT = """
import os, signal, sys, time
from pathlib import Path
import lightning as L
from lightning.pytorch.demos.boring_classes import BoringDataModule, BoringModel
from nimble_lightning.callbacks import AutoRetry, UsageReport

class Model(BoringModel):
    def training_step(self, batch, batch_idx):
        time.sleep(0.05)
        at = Path(f"killed-at-{self.global_step}")
        if self.global_step in (50, 120) and not at.exists():
            at.write_text(str(time.time()))
            os.kill(os.getpid(), signal.SIGKILL)
        return super().training_step(batch, batch_idx)

Path(f"started-{time.time()}").touch()
L.Trainer(
    max_epochs=3, accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False,
    callbacks=[AutoRetry(save_every_n_steps=10), UsageReport()],
).fit(Model(), BoringDataModule())
Path("ended").write_text(str(time.time()))
"""


@pytest.mark.slow
def test_a_script_that_is_killed_is_accounted_for_to_the_last_kill() -> None:
    Path("theirs.py").write_text(SCRIPT)
    retry = [Path(sys.executable).with_name("nimble-cli"), "retry", "--run-id", "mine", "--", sys.executable]
    births: list[float] = []
    process = subprocess.Popen(
        [*retry, "theirs.py"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    seen: set[int] = set()
    while process.poll() is None:
        for child in psutil.Process(process.pid).children() if psutil.pid_exists(process.pid) else ():
            if child.pid not in seen:
                seen.add(child.pid)
                births.append(time.time())
        time.sleep(0.005)
    said = process.communicate()[0]
    assert process.returncode == 0, said
    deaths = sorted(float(path.read_text()) for path in Path().glob("killed-at-*"))
    deaths.append(float(Path("ended").read_text()))
    lived = sum(deaths) - sum(births)
    assert len(births) == len(deaths) == 3, said
    account = usage(Path("nimble/mine"))
    assert account["attempts"] == 3
    assert account["device_seconds"] == pytest.approx(lived, rel=0.02)
    assert account["steps"] == 192
