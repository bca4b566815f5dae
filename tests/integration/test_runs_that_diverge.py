"""A run whose numbers are none fails and says so, and what is exact in it stays exact to the end."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import nimble_lightning as nl
from nimble_lightning.loggers import read_metrics
from nimble_lightning.ops.run_files import read_json
from nimble_lightning.runs.result import Result

TRAINER = """
import torch
from nimble_lightning import NimbleTrainer

class Diverges(NimbleTrainer):
    def pre_process(self, *, spoilt: str = "", at: int = 3):
        x = torch.linspace(-1, 1, 64)[:, None]
        self.train_data, self.eval_data = (x, 2 * x), (torch.arange(10),)
        self.model, self.lr = torch.nn.Linear(1, 1), 0.01
        self.spoilt, self.left = spoilt, at

    def train(self, batch):
        self.left -= 1
        loss = (self.model(batch[0]) - batch[1]).square().mean()
        return loss * float("nan") if self.spoilt == "loss" and not self.left else loss

    def evaluate(self, batch):
        right = batch[0] < 9
        spoilt = float("nan") if self.spoilt == "figure" else 1.0
        return {"accuracy": right.float().mean() * spoilt, "rest": (batch[0] < 6).float().mean()}
"""


@pytest.fixture(autouse=True)
def trainer() -> Iterator[None]:
    Path("diverges.py").write_text(TRAINER)
    yield
    sys.modules.pop("diverges", None)


def run(*, launch: str = "inline", **settings: Any) -> Result:
    lightning = {"max_epochs": 2, "accelerator": "cpu"}
    data = {"batch_size": 8, "eval_batch_size": 3}
    return nl.run("diverges.py", run_id="r", launch=launch, lightning=lightning, data=data, **settings)


@pytest.mark.parametrize(
    ("spoilt", "at", "step", "said"),
    [
        ("loss", 3, 8, "the weights are not finite by step 8"),
        ("loss", 16, 16, "the weights are not finite by step 16"),
        ("figure", 0, 16, "accuracy was finite in no evaluation by step 16"),
    ],
)
def test_a_run_that_diverges_fails_and_exports_nothing(spoilt: str, at: int, step: int, said: str) -> None:
    with pytest.raises(FloatingPointError, match=said):
        run(params={"spoilt": spoilt, "at": at})
    record = read_json(Path("outputs/diverges/r/run.json"))
    assert record["status"] == "failed"
    assert said in record["message"]
    assert not Path("outputs/diverges/r/best").exists()
    for file in Path("outputs/diverges/r/checkpoints").rglob("*.ckpt"):
        weights = torch.load(file, weights_only=True)["state_dict"]
        assert all(tensor.isfinite().all() for tensor in weights.values())


def test_a_run_that_diverges_is_not_tried_again() -> None:
    result = run(params={"spoilt": "loss"}, launch="local", check=False)
    assert (result.status, result.exit_code, len(result.attempts)) == ("failed", 1, 1)
    assert result.attempts[0]["cause"] == "nan"


def test_where_nobody_stops_it_the_last_line_says_so() -> None:
    result = run(params={"spoilt": "loss"}, callbacks={"non_finite": None})
    assert result.status == "finished"
    assert "but train_loss is nan" in result.message
    assert read_json(result.folder / "run.json")["message"] == "train_loss is nan"


def test_criteria_are_about_exact_figures_and_no_row_is_written_twice() -> None:
    """Nine right answers of ten, and six of ten, in batches of three as means in float32."""
    kept = ["accuracy >= 90 %", "accuracy == 0.9", "accuracy <= 0.9", "rest >= 0.6"]
    logger = {"jsonl": {"_target_": "nimble_lightning.loggers.JSONLLogger"}}
    result = run(
        validator={"_target_": "nimble_lightning.validators.Threshold", "criteria": kept}, logger=logger
    )
    assert (result.exit_code, result.metrics["accuracy"], result.metrics["rest"]) == (0, 0.9, 0.6)
    rows = [row for row in read_metrics(result.folder / "metrics.jsonl") if "accuracy" in row["metrics"]]
    assert [(row["step"], row["metrics"]["accuracy"]) for row in rows] == [(8, 0.9), (16, 0.9)]
    wanted = {"_target_": "nimble_lightning.validators.Threshold", "criteria": ["rest > 0.6"]}
    missed = nl.run(
        "diverges.py", run_id="other", launch="inline", validator=wanted, lightning={"max_epochs": 1}
    )
    assert missed.exit_code == 3
