"""A run ends with a verdict: in its record, its result and the exit code of the command."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import nimble_lightning as nl
from nimble_lightning.errors import RequestError, TrainerError
from nimble_lightning.testing import TinyTrainer
from nimble_lightning.validators import Run, Verdict

QUIET: dict[str, Any] = {
    "lightning": {"max_epochs": 2, "accelerator": "cpu"},
    "callbacks": {"progress": None},
    "launch": "inline",
}
OURS = "nimble_lightning.validators."


def trained(
    trainer: Any = TinyTrainer, *, params: dict[str, Any] | None = None, **settings: Any
) -> nl.Result:
    return nl.run(trainer, params=params, **{**QUIET, **settings})


def command(*words: str) -> subprocess.CompletedProcess[str]:
    fixed = ["trainer=nimble_lightning.testing.tiny:TinyTrainer", "lightning.accelerator=cpu", "run_id=r"]
    fixed += ["lightning.max_epochs=2", "callbacks.progress=null"]
    return subprocess.run(
        [sys.executable, "-m", "nimble_lightning", *fixed, *words],
        capture_output=True,
        text=True,
        timeout=200,
    )


def record(folder: str = "outputs/TinyTrainer/r") -> dict[str, Any]:
    return json.loads((Path(folder) / "run.json").read_text())  # type: ignore[no-any-return]


# --- the command -------------------------------------------------------------------------------------------


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


# --- whatever is trained -----------------------------------------------------------------------------------


def test_without_a_validator_none_was_asked() -> None:
    result = trained()
    assert (result.verdict["passed"], result.verdict["summary"]) == (None, "none asked")
    assert (result.exit_code, result.message) == (0, "finished")
    assert json.loads((result.folder / "run.json").read_text())["verdict"] == result.verdict


def test_a_baseline_is_by_itself_the_untrained_model_and_leaves_the_trained_one_in_place() -> None:
    result = trained(validator="baseline", monitor="accuracy")
    assert result.verdict["passed"] is True
    assert result.verdict["summary"].startswith("accuracy better than the untrained model by")
    (comparison,) = result.verdict["comparisons"]
    assert comparison["value"] == pytest.approx(result.metrics["accuracy"], abs=1e-6)
    assert comparison["interval"]["low"] <= comparison["gain"] <= comparison["interval"]["high"]


def test_nothing_of_a_comparison_is_in_the_logs() -> None:
    plain = trained(run_id="plain")
    compared = trained(run_id="compared", validator="baseline")
    logged = [
        [json.loads(line)["metrics"].keys() for line in (r.folder / "metrics.jsonl").read_text().splitlines()]
        for r in (plain, compared)
    ]
    assert logged[0] == logged[1]
    assert plain.metrics["val_loss"] == compared.metrics["val_loss"]


def test_an_earlier_run_is_compared_with_also_when_its_model_was_another_size() -> None:
    first = trained(
        params={"hidden": 4, "lr": 1e-5}, run_id="first", lightning={"max_epochs": 1, "accelerator": "cpu"}
    )
    assert first.exit_code == 0
    result = trained(
        validator={"_target_": f"{OURS}Baseline", "reference": [str(first.folder)], "metric": "accuracy"},
        lightning={"max_epochs": 8, "accelerator": "cpu"},
    )
    assert result.verdict["passed"] is True, result.message
    assert result.verdict["comparisons"][0]["other"] == pytest.approx(first.metrics["accuracy"], abs=1e-6)


def test_an_altered_checkpoint_is_no_reference() -> None:
    first = trained(run_id="first")
    assert first.best_checkpoint is not None
    content = bytearray(first.best_checkpoint.read_bytes())
    content[len(content) // 2] ^= 1
    first.best_checkpoint.write_bytes(content)
    with pytest.raises(RequestError, match="altered"):
        trained(validator={"_target_": f"{OURS}Baseline", "reference": str(first.folder)})


class Constant(TinyTrainer):
    """Compares itself with always saying the same."""

    def baseline(self, batch: Any) -> dict[str, Any]:
        return {"accuracy": batch[1] == 0}


class Figures(TinyTrainer):
    def baseline(self) -> dict[str, Any]:
        return {"accuracy": 0.999}


class Module(TinyTrainer):
    def baseline(self) -> torch.nn.Module:
        return torch.nn.Linear(8, 3)


def test_a_trainer_says_itself_what_to_compare_with() -> None:
    always = trained(Constant, validator="baseline", monitor="accuracy")
    assert always.verdict["comparisons"][0]["samples"] == 32
    assert always.verdict["comparisons"][0]["other"] == pytest.approx(1 / 3, abs=0.02)

    figures = trained(Figures, validator="baseline", monitor="accuracy")
    assert (figures.verdict["passed"], figures.exit_code) == (False, 3)
    assert "no confidence interval: no values per sample" in figures.message

    module = trained(Module, validator="baseline", monitor="accuracy")
    assert module.verdict["comparisons"][0]["reference"] == "baseline()"
    assert module.verdict["comparisons"][0]["samples"] == 32


class Blind(TinyTrainer):
    def pre_process(self) -> None:  # type: ignore[override]
        super().pre_process()
        self.eval_data = None


def test_without_data_to_compare_on_a_baseline_is_refused_before_training() -> None:
    with pytest.raises(RequestError, match="eval_data"):
        trained(Blind, validator="baseline")


class Wrong(TinyTrainer):
    def baseline(self) -> dict[str, Any]:
        return {"accuracy": torch.ones(5)}


def test_values_for_other_samples_cannot_be_compared() -> None:
    with pytest.raises(TrainerError, match="5 values of accuracy for 32 samples"):
        trained(Wrong, validator="baseline", monitor="accuracy")


def test_a_criterion_may_ask_for_the_best_of_references() -> None:
    asked = {"_target_": f"{OURS}Threshold", "criteria": ["val_loss < best_of(baseline) * 0.98"]}
    result = trained(validator=asked)
    (check,) = result.verdict["criteria"]
    assert check["passed"] is (check["value"] < check["limit"])
    assert 0.5 < check["limit"] < 3, "the loss of an untrained model of three classes"


class Apart(TinyTrainer):
    def pre_process(self, *, shared: int = 0) -> None:  # type: ignore[override]
        super().pre_process()
        points, labels = self.eval_data
        held = points[:20] + 0.01, labels[:20]
        self.holdout_data = tuple(
            torch.cat([h, t[:shared]]) for h, t in zip(held, self.train_data, strict=True)
        )


def test_held_out_data_has_the_last_word() -> None:
    good = {"_target_": f"{OURS}Holdout", "criteria": ["accuracy >= 0.3"]}
    result = trained(Apart, validator=good)
    assert result.verdict["passed"] is True, result.message
    assert "with none of the 96 training samples and 32 evaluation samples" in result.message
    assert set(result.verdict["metrics"]) == {"accuracy", "val_loss"}

    leaked = trained(Apart, validator="holdout", params={"shared": 3})
    assert (leaked.verdict["passed"], leaked.exit_code) == (False, 3)
    assert "it holds 3 of the 96 training samples" in leaked.message
    assert leaked.verdict["overlap"]["training"] == {"found": 3, "checked": 96, "size": 96}

    with pytest.raises(RequestError, match="holdout_data"):
        trained(validator="holdout")


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
    better = trained(ByItselfBetter, validator="baseline")
    assert better.verdict["passed"] is True
    assert "slope better than baseline() by 1" in better.message


class Texts(nl.NimbleTrainer):
    """Tells even from odd first tokens by a model of transformers."""

    def pre_process(self) -> None:  # type: ignore[override]
        torch.manual_seed(0)
        tokens = torch.randint(2, 20, (96, 4))
        self.train_data = {"input_ids": tokens[:64], "labels": tokens[:64, 0] % 2}
        self.eval_data = {"input_ids": tokens[64:], "labels": tokens[64:, 0] % 2}
        self.model = small_bert(16)
        self.lr = 1e-2

    def train(self, batch: Any) -> torch.Tensor:  # type: ignore[override]
        return self.model(**batch).loss

    def evaluate(self, batch: Any) -> dict[str, Any]:  # type: ignore[override]
        return {"accuracy": self.model(**batch).logits.argmax(-1) == batch["labels"]}


def small_bert(width: int) -> Any:
    from transformers import BertConfig, BertForSequenceClassification

    config = BertConfig(
        hidden_size=width,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=width,
        vocab_size=20,
        num_labels=2,
    )
    return BertForSequenceClassification(config)


def test_a_named_model_of_hugging_face_is_a_reference() -> None:
    small_bert(8).save_pretrained("smaller")
    nl.models.add("smaller-bert", Path("smaller").resolve())
    asked = {"_target_": f"{OURS}Baseline", "reference": ["smaller-bert"]}
    result = trained(Texts, validator=asked, lightning={"max_epochs": 12, "accelerator": "cpu"})
    (comparison,) = result.verdict["comparisons"]
    assert (comparison["reference"], comparison["samples"], comparison["share"]) == ("smaller-bert", 32, True)
    assert comparison["value"] == pytest.approx(result.metrics["accuracy"], abs=1e-6)
    assert result.verdict["passed"] is True, result.message


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
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "nimble_lightning",
            "trainer=line.py",
            "lightning.accelerator=cpu",
            "lightning.max_epochs=3",
            "callbacks.progress=null",
            "run_id=r",
            "validator=baseline",
        ],
        capture_output=True,
        text=True,
        timeout=200,
    )
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
