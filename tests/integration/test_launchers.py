"""Other launchers of Hydra's run the members of a sweep as ours does: folders, ids, summary, exit code."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

TRAINER = """
import torch
from nimble_lightning import NimbleTrainer, param

class MyTrainer(NimbleTrainer):
    def pre_process(self, *, fail: bool = False, lr: float = param(0.1, low=0.01, high=0.2)):
        self.fail, self.lr = fail, lr
        x = torch.zeros(8, 1)
        self.train_data = self.eval_data = (x, x)
        self.model = torch.nn.Linear(1, 1)

    def train(self, batch):
        assert not self.fail, "asked to fail"
        return self.model(batch[0]).square().mean()

    def evaluate(self, batch):
        return {"ranks": float(torch.distributed.get_world_size())}
"""
SETTINGS = [
    "trainer=my_trainer.py",
    "sweep_id=s",
    "lightning.accelerator=cpu",
    "lightning.devices=2",
    "lightning.max_epochs=1",
    "callbacks=none",
]
LAUNCHERS = {
    "joblib": ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"],
    "submitit": ["hydra/launcher=submitit_local", "hydra.launcher.cpus_per_task=1"],
    "ray": ["launch=ray"],
}


@pytest.fixture(autouse=True)
def trainer_file() -> None:
    Path("my_trainer.py").write_text(dedent(TRAINER))


def sweep(launcher: str, *more: str) -> tuple[int, str, dict[str, Any]]:
    """Exit code, output and summary of a sweep with a launcher, if it is installed."""
    plugin = f"hydra-{launcher}-launcher"
    try:
        version(plugin)
    except PackageNotFoundError:
        pytest.skip(f"{plugin} is not installed")
    words = ["-m", "nimble_lightning", "-m", *SETTINGS, *LAUNCHERS[launcher], *more]
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, timeout=230, check=False)
    summary = Path("outputs/my_trainer/s/sweep.json")
    assert summary.exists(), done.stdout + done.stderr
    return done.returncode, done.stdout, json.loads(summary.read_text())


@pytest.mark.slow
@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_members_have_their_folders_and_one_that_fails_is_told_of(launcher: str) -> None:
    code, text, summary = sweep(launcher, "params.fail=false,true")
    assert code == summary["exit_code"] == 1, text
    fine, failed = summary["members"]
    assert [fine["run_id"], failed["run_id"]] == ["s-0", "s-1"]
    assert [fine["status"], failed["status"]] == ["finished", "failed"]
    assert failed["overrides"] == ["params.fail=True"]
    assert "asked to fail" in failed["message"]
    assert fine["metrics"]["ranks"] == 2
    assert summary["best"] == [0]
    assert "job  overrides" in text


@pytest.mark.slow
@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_a_search_works_with_any_launcher(launcher: str) -> None:
    pytest.importorskip("optuna")
    search = ["hydra/sweeper=search", "monitor=ranks", "mode=max", "hydra.sweeper.trials=3"]
    code, text, summary = sweep(launcher, *search, "launch.jobs=2")
    assert code == 0, text
    assert [member["status"] for member in summary["members"]] == ["finished"] * 3
    assert all("params.lr=" in member["overrides"][0] for member in summary["members"])
    assert "best: job" in text
