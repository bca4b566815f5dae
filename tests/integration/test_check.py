"""`nimble-cli check` passes what is right, names what is wrong with the user's line, and leaves nothing."""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path

import pytest

from nimble_lightning.commands import main

TRAINER = """
import itertools
import os
import torch
from nimble_lightning import NimbleTrainer

class Trainer(NimbleTrainer):
    def pre_process(self, *, faults: str = ""):
        self.faults = faults.split("+")
        x = torch.randn(70, 3, generator=torch.Generator().manual_seed(1))
        self.train_data = self.eval_data = (x, x.sum(1, keepdim=True))
        self.model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Dropout(0.5), torch.nn.Linear(4, 1))
        if "other_weights" in self.faults:
            torch.nn.init.constant_(self.model[0].bias, int.from_bytes(os.urandom(2), "big"))
        self.steps = 0
        self.counter = itertools.count(1)

    def train(self, batch):
        x, y = batch
        self.steps += 1
        if "raises" in self.faults:
            raise ValueError("the shapes are wrong")
        factor = next(self.counter) if "remembers" in self.faults else self.steps
        if "restless" in self.faults:
            factor = 1 + int.from_bytes(os.urandom(4), "big")
        return factor * torch.nn.functional.mse_loss(self.model(x), y)

    def evaluate(self, batch):
        x, y = batch
        errors = (self.model(x) - y).abs().squeeze(1)
        return {"worst": errors.max() if "of_a_batch" in self.faults else errors}

    def predict_and_show(self):
        yield "weights", self.model[0].weight
        if "cannot_show" in self.faults:
            yield "nothing", self.nothing
"""


def line(code: str) -> str:
    number = next(i for i, text in enumerate(TRAINER.splitlines(), start=1) if code in text)
    return f"(trainer.py:{number})"


def check(capfd: pytest.CaptureFixture[str], *faults: str, source: str = TRAINER) -> tuple[int, str]:
    Path("trainer.py").write_text(source)
    before = set(os.listdir(tempfile.gettempdir()))
    words = [f"params.faults={'+'.join(faults)}"] if faults else []
    # A LightningModule, and a train that trains by itself, make their own batches.
    words += ["data.batch_size=16"] if "def train(self, batch" in source else []
    code = main.main(["check", "trainer.py", *words])
    left = {n for n in set(os.listdir(tempfile.gettempdir())) - before if n.startswith("nimble-check")}
    assert not left
    assert {p.name for p in Path().iterdir()} <= {"trainer.py", "__pycache__"}
    return code, capfd.readouterr().out


def cells(said: str) -> dict[str, list[str]]:
    rows = [re.split(r" {2,}", text) for text in said.splitlines()]
    return {row[0]: row[1:3] for row in rows if len(row) > 2 and row[0]}


def test_what_is_right_passes_on_one_process_and_on_two(capfd: pytest.CaptureFixture[str]) -> None:
    code, said = check(capfd)
    assert code == 0, said
    rows = ("pre_process", "train", "evaluate", "predict_and_show", "kill and resume")
    assert cells(said) == dict.fromkeys(rows, ["ok", "ok"]), said
    assert "worst of 33 samples" in said
    assert "loss " in said
    assert "the same bits as undisturbed" in said


def test_each_fault_is_named_with_its_method_and_line(capfd: pytest.CaptureFixture[str]) -> None:
    code, said = check(capfd, "remembers", "of_a_batch", "cannot_show")
    assert code == 1, said
    found = cells(said)
    assert found["train"] == found["pre_process"] == ["ok", "ok"]
    assert found["kill and resume"] == ["FAILED", "FAILED"]
    assert "train depends on something no checkpoint holds" in said
    assert line("def train") in said
    assert found["evaluate"] == ["ok", "FAILED"]
    assert "evaluate gives other figures on 2 processes than on 1: worst is" in said
    assert line("def evaluate") in said
    assert found["predict_and_show"] == ["FAILED", "FAILED"]
    assert line("self.nothing") in said


@pytest.mark.slow
def test_weights_that_no_seed_decides_are_found(capfd: pytest.CaptureFixture[str]) -> None:
    code, said = check(capfd, "other_weights")
    assert (code, cells(said)["pre_process"]) == (1, ["FAILED", "FAILED"]), said
    assert "pre_process gives other weights each time it runs (model.0.bias)" in said


@pytest.mark.slow
def test_randomness_that_no_seed_decides_is_told_from_what_a_checkpoint_lacks(
    capfd: pytest.CaptureFixture[str],
) -> None:
    code, said = check(capfd, "restless")
    assert (code, cells(said)["train"], cells(said)["kill and resume"]) == (1, ["FAILED"] * 2, ["-"] * 2), (
        said
    )
    assert "train gives another loss the second time (step 1:" in said
    assert line("def train") in said


def test_an_exception_is_told_in_a_sentence_and_ends_the_check(capfd: pytest.CaptureFixture[str]) -> None:
    code, said = check(capfd, "raises")
    assert (code, cells(said)["train"]) == (1, ["FAILED", "-"]), said
    assert f"FAILED on 1 process: ValueError: the shapes are wrong {line('raise ValueError')}" in said
    assert "Traceback" not in said


LIGHTNING = """
import lightning as L, torch

class Model(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.net = torch.nn.Linear(3, 1)
    def training_step(self, batch, i):
        return self.net(batch).pow(2).mean()
    def validation_step(self, batch, i):
        self.log("val_loss", self.net(batch).pow(2).mean())
    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), 1e-2)
    def train_dataloader(self):
        return torch.utils.data.DataLoader(torch.randn(64, 3), batch_size=8, shuffle=True)
    def val_dataloader(self):
        return torch.utils.data.DataLoader(torch.ones(64, 3), batch_size=8)
"""


@pytest.mark.slow
def test_an_ordinary_lightning_module_is_checked_too(capfd: pytest.CaptureFixture[str]) -> None:
    code, said = check(capfd, source=LIGHTNING)
    assert code == 0, said
    assert cells(said)["kill and resume"] == ["ok", "ok"]
    assert cells(said)["predict_and_show"] == ["-", "-"]


ORIGINAL = """
from NimbleSDK import NimbleTrainer

class Trainer(NimbleTrainer):
    def pre_process(self, **kwargs): ...
    def train(self, **kwargs): ...
    def evaluate(self, **kwargs):
        return {"accuracy": 0.5}
    def predict_and_show(self, **kwargs):
        return ["a result"]
"""


def test_a_trainer_that_does_everything_itself_is_run_once(capfd: pytest.CaptureFixture[str]) -> None:
    code, said = check(capfd, source=ORIGINAL)
    assert code == 0, said
    assert cells(said)["train"] == ["ok", "-"]
    assert "accuracy" in said


def test_settings_that_no_run_can_be_made_of_are_told_apart_from_the_trainers_faults(
    capfd: pytest.CaptureFixture[str],
) -> None:
    Path("trainer.py").write_text(TRAINER)
    assert main.main(["check", "trainer.py", "lightning.strategy=odd"]) in (1, 2)
    said = "".join(capfd.readouterr())
    assert "odd" in said
    assert "(trainer.py:" not in said


def test_a_wrong_request_is_refused_before_anything_runs(capfd: pytest.CaptureFixture[str]) -> None:
    Path("trainer.py").write_text(TRAINER)
    assert main.main(["check", "trainer.py", "params.fault=x"]) == 2
    assert "params.faults" in capfd.readouterr().err
