"""What a model has to be better than: itself untrained, an earlier run, a model with a name, what its trainer
says; and on data it never saw."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from validated_runs import OURS, trained

import nimble_lightning as nl
from nimble_lightning.errors import RequestError
from nimble_lightning.testing import TinyTrainer


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
    result = trained(Wrong, validator="baseline", monitor="accuracy")
    assert result.exit_code == 1
    assert "5 values of accuracy for 32 samples" in result.message


def test_a_criterion_may_ask_for_the_best_of_references() -> None:
    asked = {"_target_": f"{OURS}Threshold", "criteria": ["val_loss < best_of(baseline) * 0.98"]}
    result = trained(validator=asked)
    (check,) = result.verdict["criteria"]
    assert check["passed"] is (check["value"] < check["limit"])
    assert 0.5 < check["limit"] < 3, "the loss of an untrained model of three classes"


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


class OfSets(Apart):
    def pre_process(self, *, shared: int = 0) -> None:
        super().pre_process(shared=shared)
        points, labels = self.eval_data
        self.eval_data = {"near": (points[:20], labels[:20]), "far": (points[20:], labels[20:])}


def test_held_out_data_is_apart_from_each_of_several_sets_and_its_figures_have_their_own_names() -> None:
    asked = {"_target_": f"{OURS}Holdout", "criteria": ["accuracy >= 0.3"]}
    result = trained(OfSets, validator=asked, monitor="far_accuracy")
    assert result.verdict["passed"] is True, result.message
    assert set(result.verdict["metrics"]) == {"accuracy", "val_loss"}
    assert set(result.metrics) > {"near_accuracy", "far_accuracy"}
    sizes = {name: found["checked"] for name, found in result.verdict["overlap"].items()}
    assert sizes == {"training": 96, "near evaluation": 20, "far evaluation": 12}
