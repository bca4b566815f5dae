"""What a run is judged by is said once, and is the same in run.json, on the page and in its best weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import forked_command
import pytest
import torch
from safetensors.torch import load_file

TRAINER = """
import torch
from nimble_lightning import NimbleTrainer

class Counts(NimbleTrainer):
    def pre_process(self, *, name: str = "accuracy", values: list = [1.0, 3.0, 2.0, 0.0]):
        x = torch.zeros(4, 1)
        self.train_data = self.eval_data = (x, x)
        self.model = torch.nn.Linear(1, 1)
        self.model.register_buffer("steps", torch.zeros(()))
        self.name, self.values = name, values

    def train(self, batch):
        self.model.steps += 1
        return self.model(batch[0]).square().mean()

    def evaluate(self, batch):
        return {self.name: self.values[max(0, int(self.model.steps) - 1)]}
"""


def run(*words: str, code: int = 0) -> str:
    Path("counts.py").write_text(TRAINER)
    settings = ["trainer=counts.py", "run_id=a", "lightning.max_epochs=4", "lightning.accelerator=cpu"]
    return forked_command.Command(*settings, *words).end_with(code)


def record() -> dict[str, Any]:
    return json.loads(Path("outputs/counts/a/run.json").read_text())


def log() -> str:
    return Path("outputs/counts/a/log.txt").read_text()


def page() -> str:
    return Path("outputs/counts/a/report.html").read_text()


@pytest.mark.parametrize(("name", "step", "way"), [("accuracy", 2, "max"), ("neg_log_likelihood", 4, "min")])
def test_the_best_is_the_same_everywhere(name: str, step: int, way: str) -> None:
    run(f"params.name={name}")
    said = f"best: {name}, {'higher' if way == 'max' else 'lower'} is better (by its name), step {step}"
    assert log().count("best: ") == log().count(said) == 1
    assert said in page()
    assert record()["best"] == {"metric": name, "mode": way, "reason": "by its name", "step": step}
    assert record()["metrics"][name] == [1.0, 3.0, 2.0, 0.0][step - 1]
    assert record()["best_checkpoint"].endswith(f"best-{step:08d}.ckpt")


def test_early_stopping_takes_the_same_and_everybody_is_told_why() -> None:
    text = run("callbacks.early_stopping=true", "callbacks.early_stopping.patience=1")
    assert "finished, stopped early at step 3: " in text
    assert "accuracy did not improve" in record()["message"]
    assert "stopped early at step 3" in page()
    assert (record()["best"]["step"], record()["metrics"]["global_step"]) == (2, 3)


@pytest.mark.parametrize("more", [[], ["callbacks=none"]])
def test_a_monitor_that_does_not_exist_is_refused_before_training(more: list[str]) -> None:
    text = run("monitor=acuracy", *more, code=2)
    assert "There is no metric acuracy; did you mean accuracy?" in text
    assert "Traceback" not in text + log()
    assert not list(Path("outputs/counts/a").glob("**/*.ckpt"))


def test_a_plateau_schedule_follows_what_the_rest_follows() -> None:
    words = [
        "schedule=plateau",
        "schedule.patience=0",
        "schedule.factor=0.5",
        "optim.lr=1.0",
        "log.every_n_steps=1",
    ]
    run("params.values=[1.0,2.0,3.0,3.0]", *words)
    rows = [json.loads(line) for line in Path("outputs/counts/a/metrics.jsonl").read_text().splitlines()]
    assert {row["metrics"]["lr"] for row in rows if "lr" in row["metrics"]} == {1.0}
    assert "has to know what to follow" in run("run_id=b", "params.name=zorp", *words, code=2)


AVERAGED = """
import torch
from nimble_lightning import NimbleTrainer

def table(seed, count):
    x = torch.randn(count, 3, generator=torch.Generator().manual_seed(seed))
    return x, x.sum(1, keepdim=True)

def network():
    return torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 1))

class Averaged(NimbleTrainer):
    def pre_process(self):
        self.train_data, self.eval_data, self.test_data = table(1, 32), table(2, 11), table(3, 7)
        self.model, self.lr = network(), 0.05

    def train(self, batch):
        return (self.model(batch[0]) - batch[1]).square().mean()

    def evaluate(self, batch):
        return {"loss": self.train(batch)}

    def predict_and_show(self):
        self.model.eval()
        yield "shown", str(self.train(self.eval_data).item())
"""


def test_averaged_weights_are_those_that_are_judged_tested_shown_and_exported(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Path("averaged.py").write_text(AVERAGED)
    words = ["trainer=averaged.py", "run_id=a", "callbacks.ema=true", "callbacks.ema.decay=0.9"]
    said = forked_command.Command(*words, "data.batch_size=8", "lightning.max_epochs=3").end_with(0)
    assert "callbacks used to create the checkpoint" not in said
    folder = Path("outputs/averaged/a")
    monkeypatch.syspath_prepend(str(Path.cwd()))
    from averaged import network, table

    model = network().eval()
    weights = load_file(folder / "best/model.safetensors")
    model.load_state_dict(weights)
    metrics = json.loads((folder / "run.json").read_text())["metrics"]
    for name, (x, y) in {"val_loss": table(2, 11), "test_loss": table(3, 7)}.items():
        assert metrics[name] == pytest.approx((model(x) - y).square().mean().item(), rel=1e-6), name
    assert float((folder / "show/01.txt").read_text()) == pytest.approx(metrics["val_loss"], rel=1e-6)
    kept = torch.load(json.loads((folder / "run.json").read_text())["best_checkpoint"], weights_only=True)
    (last,) = (value for name, value in kept["current_model_state"].items() if name.endswith("0.weight"))
    assert not torch.equal(last, weights["0.weight"]), "or this shows nothing"
