"""All parts in one run: each does its own, and none is in another's way."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

import nimble_lightning as nl
from nimble_lightning.gpu import devices_in_use
from nimble_lightning.notifications import events
from nimble_lightning.proof import Expected, generate, verify

TRAINER = """
import torch
from nimble_lightning import NimbleTrainer

class All(NimbleTrainer):
    def pre_process(self):
        torch.manual_seed(0)
        x = torch.randn(256, 4)
        y = (x.sum(-1) > 0).long()
        self.train_data, self.eval_data = (x[:192], y[:192]), (x[192:], y[192:])
        self.model, self.lr = torch.nn.Linear(4, 2), 0.05

    def train(self, batch):
        return torch.nn.functional.cross_entropy(self.model(batch[0]), batch[1])

    def evaluate(self, batch):
        return {"accuracy": self.model(batch[0]).argmax(-1) == batch[1]}

    def predict_and_show(self):
        yield "a guess", int(self.model(self.eval_data[0][:1]).argmax())
"""


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch) -> Path:
    """Of a run with everything on, its messages going to a port where nobody listens."""
    monkeypatch.setenv("TEAM", "json://127.0.0.1:9/")
    monkeypatch.setenv("NIMBLE_NOTIFICATION_LINGER", "0")
    Path("mine.py").write_text(TRAINER)
    generate(Path("key.pem"))
    result = nl.run(
        "mine.py",
        run_id="all",
        lightning={"max_epochs": 3, "accelerator": "cpu"},
        callbacks={
            "gpu_info": {"interval": 0.1},
            "notification": {"urls": ["secret:TEAM"]},
            "usage_report": {"prices": {"kwh": 0.3, "currency": "EUR"}, "grid": "DE"},
            "non_finite": True,
            "ema": True,
        },
        validator="baseline",
        signature={"_target_": "nimble_lightning.proof.Ed25519", "key": str(Path("key.pem").absolute())},
        checkpoints={"asynchronous": True},
    )
    assert (result.status, result.exit_code) == ("finished", 0), result.message
    assert result.verdict["passed"] is True
    return result.folder


def test_a_run_with_everything_on_is_told_accounted_for_shown_and_signed(folder: Path) -> None:
    report = verify(folder, "key.pub.pem", Expected(run_id="all"))
    assert report.verified, report.problems
    signed = (folder / "statement.json").read_text()
    signed = base64.b64decode(json.loads(signed)["payload"]).decode()
    for name in (
        "report.html",
        "usage.json",
        "emissions.csv",
        "gpu.jsonl",
        "best/",
        "show/",
        "metrics.jsonl",
    ):
        assert name in signed, f"{name} is not vouched for"
    assert {"started", "best", "finished"} <= {event.kind for event in events.read(folder)}
    usage = json.loads((folder / "usage.json").read_text())
    assert usage["steps"] == 18
    assert usage["co2e_kg"]["value"] > 0
    page = (folder / "report.html").read_text()
    for words in ("better than the untrained model", "EUR", "a guess", "accuracy"):
        assert words in page
    assert not devices_in_use() or "GPU" in page
    assert not [path.name for path in folder.iterdir() if path.name.startswith(".")]
