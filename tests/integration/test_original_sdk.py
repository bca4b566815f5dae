"""Files written for the original SDK run as they are, whatever their `train` returns."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import nimble_lightning as nl

TRAINER = """
import os, signal
from pathlib import Path

import lightning as L
import torch
from NimbleSDK import NimbleTrainer


class Net(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.net = torch.nn.Linear(3, 1)

    def training_step(self, batch, batch_idx):
        return (self.net(batch[0]) - batch[1]).pow(2).mean()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


class Trainer(NimbleTrainer):
    def pre_process(self, **kwargs):
        self.params = kwargs["params"]
        self.x = torch.randn(64, 3, generator=torch.Generator().manual_seed(1))
        if self.params["returns"] == "lightning":
            self.train_data = (self.x, self.x.sum(1, keepdim=True))

    def train(self, **kwargs):
        assert kwargs["resume_from"] is None
        folder = Path(kwargs["run_folder"])
        kill = folder / "killed"
        if self.params.get("kill") and not kill.exists():
            kill.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if self.params["returns"] == "lightning":
            self.model = Net()
            return self.model
        model = torch.nn.Linear(3, 1)
        if self.params["returns"] == "module":
            return model
        self.model = model

    def evaluate(self, **kwargs):
        model = getattr(self.model, "net", self.model)
        return {"error": model(self.x).mean(), "note": "words are no figures"}

    def predict_and_show(self, **kwargs):
        yield "weights", self.model
        raise RuntimeError("no more")
"""


def run(returns: str, **params: object) -> nl.Result:
    Path("original.py").write_text(TRAINER)
    return nl.run(
        "original.py",
        params={"returns": returns, **params},
        lightning={"max_epochs": 2, "accelerator": "cpu"},
        callbacks={"progress": None},
    )


@pytest.mark.parametrize("returns", ["nothing", "module", "lightning"])
def test_whatever_train_returns_it_ends_with_figures_and_something_to_see(returns: str) -> None:
    result = run(returns)
    assert (result.status, result.exit_code) == ("finished", 0), result.message
    assert {"error", "train_runtime"} <= result.metrics.keys()
    assert all(isinstance(value, int | float) for value in result.metrics.values())
    shown, failed = json.loads((result.folder / "show" / "index.json").read_text())
    assert shown["caption"] == "weights"
    assert "no more" in failed["error"], "what cannot be shown does not undo the run"
    assert (result.folder / "checkpoints" / "trained.pt").exists() == (returns == "module")
    assert (result.metrics.get("global_step") == 4) == (returns == "lightning")


def test_killed_while_it_trains_by_itself_it_is_started_again() -> None:
    result = run("module", kill=True)
    assert result.status == "finished", result.message
    assert [attempt["cause"] for attempt in result.attempts] == ["killed", "finished"]
