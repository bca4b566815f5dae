"""A run ends with a verdict: in its record, its result and the exit code of the command."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from validated_runs import OURS, command, record, trained

from nimble_lightning.errors import RequestError
from nimble_lightning.validators import Run, Verdict


def test_criteria_that_hold_end_with_0_and_those_that_do_not_with_3_again_and_again() -> None:
    done = command("validator=threshold", 'validator.criteria=["accuracy >= 0.3", "val_loss < 5"]')
    assert done.returncode == 0, done.stdout + done.stderr
    assert "finished, passed: met accuracy >= 0.3" in done.stdout
    assert record()["verdict"]["passed"] is True

    done = command("validator=threshold", "validator.criteria=['accuracy > 1']", "resume=never")
    assert done.returncode == 3, done.stdout + done.stderr
    assert "not passed: missed accuracy > 1" in done.stderr
    content = record()
    assert (content["status"], content["verdict"]["passed"]) == ("finished", False)
    (check,) = content["verdict"]["criteria"]
    assert (check["text"], check["passed"], check["limit"]) == ("accuracy > 1", False, 1.0)
    assert check["value"] == content["metrics"]["accuracy"]

    again = command()
    assert again.returncode == 3
    assert "finished already, not passed" in again.stderr


def test_a_metric_that_does_not_exist_is_refused_after_the_first_validation_and_never_retried() -> None:
    done = command("validator=threshold", "validator.criteria=['acuracy > 0.1']")
    assert done.returncode == 2
    assert "There is no metric acuracy; did you mean accuracy?" in done.stderr
    (attempt,) = record()["attempts"]
    assert (attempt["cause"], attempt["last_step"]) == ("config", 0)


def test_a_criterion_that_cannot_be_read_is_refused_before_there_is_a_run() -> None:
    done = command("validator=threshold", "validator.criteria=['accuracy >== 0.1']")
    assert done.returncode == 2
    assert "column 12" in done.stderr
    assert not list(Path("outputs").rglob("*.*"))


def test_two_ranks_give_the_verdict_of_one() -> None:
    verdicts = []
    for number, devices in enumerate((1, 2)):
        done = command(
            "validator=baseline",
            "validator.metric=accuracy",
            f"lightning.devices={devices}",
            f"strategy={'ddp' if devices > 1 else 'auto'}",
            f"data.batch_size={16 // devices}",
            "data.eval_batch_size=5",
            f"output_dir=ranks-{number}",
            "params.samples=96",
            "lightning.max_epochs=1",
        )
        assert done.returncode == 0, done.stdout + done.stderr
        verdicts.append(record(f"ranks-{number}/TinyTrainer/r")["verdict"])
    one, two = verdicts
    assert one["summary"] == two["summary"]
    assert one["comparisons"][0]["interval"] == two["comparisons"][0]["interval"]
    assert two["comparisons"][0]["samples"] == 32, "every sample once"


def test_without_a_validator_none_was_asked() -> None:
    result = trained()
    assert (result.verdict["passed"], result.verdict["summary"]) == (None, "none asked")
    assert (result.exit_code, result.message) == (0, "finished")
    assert json.loads((result.folder / "run.json").read_text())["verdict"] == result.verdict


class Steps:
    """A validator of somebody's own."""

    def __init__(self, least: int = 1) -> None:
        self.least = least

    def judge(self, run: Run) -> tuple[bool, str]:
        untouched = run.evaluate()
        assert untouched.metrics["accuracy"] == run.metrics["accuracy"]
        assert untouched.samples["accuracy"].mean() == pytest.approx(run.metrics["accuracy"])
        return run.metrics["global_step"] >= self.least, f"{run.metrics['global_step']} steps"


class Certain:
    def judge(self, run: Run) -> Verdict:
        return Verdict(True, "certainly", facts={"proof": float("nan")})


def test_any_class_with_one_method_is_a_validator() -> None:
    asked = {"_target_": "test_validators.Steps", "least": 7}
    result = trained(validator=asked)
    assert (result.verdict["passed"], result.verdict["summary"]) == (False, "6 steps")
    assert (result.verdict["validator"], result.exit_code) == ("Steps", 3)
    certain = trained(validator={"_target_": "test_validators.Certain"})
    assert (certain.verdict["passed"], certain.verdict["proof"]) == (True, None)
    with pytest.raises(RequestError, match="no method judge"):
        trained(validator={"_target_": "collections.Counter"})


class ByItself:
    """Trains itself, in the form of the original SDK."""

    def pre_process(self, **kwargs: Any) -> None:
        self.slope = 0.0

    def train(self, **kwargs: Any) -> None:
        self.slope = 2.0

    def evaluate(self, **kwargs: Any) -> dict[str, float]:
        return {"slope": self.slope}


class ByItselfBetter(ByItself):
    def baseline(self) -> dict[str, float]:
        return {"slope": 1.0}


def test_trainers_that_do_everything_themselves_are_judged_by_their_figures() -> None:
    asked = {"_target_": f"{OURS}Threshold", "criteria": "slope > 3"}
    assert trained(ByItself, validator=asked).message == "finished, not passed: missed slope > 3 (2)"
    nothing = trained(ByItself, validator="baseline")
    assert (nothing.verdict["passed"], nothing.exit_code) == (None, 0)
    assert "nothing to compare with" in nothing.verdict["summary"]
    unknown = trained(ByItselfBetter, validator="baseline")
    assert unknown.verdict["passed"] is False
    assert "Whether slope is better lower or higher is not known; Add mode=min or mode=max" in unknown.message
    better = trained(ByItselfBetter, validator={"_target_": f"{OURS}Baseline", "mode": "max"})
    assert better.verdict["passed"] is True
    assert "slope better than baseline() by 1" in better.message


MODULE = """
import lightning as L
import torch

class Line(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)

    def training_step(self, batch, batch_idx):
        x, y = batch
        return (self.layer(x) - y).square().mean()

    def validation_step(self, batch, batch_idx):
        self.log("val_loss", self.training_step(batch, batch_idx))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)

class Data(L.LightningDataModule):
    def train_dataloader(self):
        x = torch.linspace(-1, 1, 64)[:, None]
        return torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, 2 * x), 16)

    val_dataloader = train_dataloader
"""


def test_a_lightning_module_is_judged_as_well() -> None:
    Path("line.py").write_text(MODULE)
    done = command("trainer=line.py", "validator=baseline", "lightning.max_epochs=3")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "val_loss better than the untrained model" in done.stdout


UNLIKE = """
import os
from nimble_lightning.testing import TinyTrainer

class Chance(TinyTrainer):
    def train(self, batch):
        return super().train(batch) * (1 + os.urandom(1)[0] / 1000)
"""


@pytest.mark.slow
def test_a_run_is_trained_again_to_the_same_bits_unless_it_cannot_be() -> None:
    replay = ["validator=replay", "callbacks.auto_retry.save_every_n_steps=2"]
    done = command(*replay)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "the same, bit for bit" in done.stdout

    Path("chance.py").write_text(UNLIKE)
    done = command(*replay, "trainer=chance.py:Chance")
    assert done.returncode == 3, done.stdout + done.stderr
    content = record("outputs/chance/r")
    assert (content["status"], content["verdict"]["passed"]) == ("finished", False)
    assert "differ, by up to" in done.stderr

    done = command("validator=replay", "run_id=short", "lightning.max_epochs=1")
    assert done.returncode == 3, done.stdout + done.stderr
    assert "no two commits" in done.stderr
