"""`compute_metrics` as transformers has it, named sets to evaluate on, and data as its Trainer takes it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from predicting_trainer import evaluated_on

import nimble_lightning as nl
from nimble_lightning.adapters import predictions
from nimble_lightning.adapters.predictions import Predictions, wants_predictions

transformers = pytest.importorskip("transformers")
datasets = pytest.importorskip("datasets")


def test_it_gets_every_row_once_in_the_order_of_the_data() -> None:
    found = evaluated_on()
    assert found["rows"] == 33
    assert found["accuracy"] == pytest.approx(found["mean"])


def test_what_is_too_large_for_memory_goes_through_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    alone = evaluated_on()
    monkeypatch.setattr(predictions, "_MOST_BYTES", 100)
    monkeypatch.setattr(Predictions.__init__, "__defaults__", (100,))
    assert evaluated_on() == alone


def test_rows_of_unequal_length_are_padded() -> None:
    collected = Predictions()
    collected.add(torch.ones(2, 3), torch.ones(2, 3, dtype=torch.long))
    collected.add((torch.ones(1, 5) * 2).to(torch.bfloat16).float(), torch.ones(1, 5, dtype=torch.long))
    both = collected.of_all_ranks()
    assert both is not None
    assert both[0].tolist() == [[1, 1, 1, -100, -100]] * 2 + [[2] * 5]
    assert both[1].shape == (3, 5)


def test_named_sets_have_figures_of_their_own() -> None:
    found = evaluated_on(sets=True)
    assert found["near_rows"] == 33
    assert found["far_rows"] == 11
    assert {"near_accuracy", "far_mean"} <= found.keys()
    assert "val_loss" not in found


def by_annotation(x: transformers.EvalPrediction) -> None: ...
def by_name(eval_preds: Any) -> None: ...
def by_letter(p) -> None: ...  # type: ignore[no-untyped-def]
def ours(metrics: dict[str, float]) -> None: ...
def also_ours(pred: dict[str, float]) -> None: ...
def nor_this(figures) -> None: ...  # type: ignore[no-untyped-def]


def test_the_annotation_decides_then_the_name() -> None:
    assert all(map(wants_predictions, (by_annotation, by_name, by_letter)))
    assert not any(map(wants_predictions, (ours, also_ours, nor_this)))


WORDS = ["bad", "good", "the", "film", "was", "very"]


def tokenizer() -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = {word: number for number, word in enumerate(["[PAD]", "[UNK]", *WORDS])}
    made = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    return transformers.PreTrainedTokenizerFast(tokenizer_object=made, pad_token="[PAD]", unk_token="[UNK]")


class Reviews(nl.NimbleTrainer):
    """As it is written for the Hugging Face Trainer: no collate, texts still there, a function of metrics."""

    def pre_process(self) -> None:
        self.tokenizer = tokenizer()
        texts = ["the film was good", "bad", "very very good", "the film was very bad"] * 8
        data = datasets.Dataset.from_dict({"text": texts, "idx": range(32), "label": [1, 0, 1, 0] * 8})
        data = data.map(lambda row: self.tokenizer(row["text"]), batched=True)
        self.train_data, self.eval_data = data, datasets.DatasetDict({"a": data, "b": data.select(range(4))})
        config = transformers.BertConfig(
            vocab_size=8, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
            num_labels=2, max_position_embeddings=16,
        )  # fmt: skip
        self.model, self.lr = transformers.BertForSequenceClassification(config), 1e-2

    def train(self, batch: Any) -> Any:
        return self.model(**batch)

    def compute_metrics(self, eval_pred: Any) -> dict[str, float]:
        logits, labels = eval_pred
        return {"accuracy": float((logits.argmax(-1) == labels).mean())}


class Numbered(Reviews):
    """Needs a column that the model does not take."""

    def train(self, batch: Any) -> Any:
        assert "idx" in batch
        return self.model(**{name: value for name, value in batch.items() if name != "idx"})


def test_what_the_tutorials_write_runs_as_it_is(tmp_path: Path) -> None:
    result = nl.run(
        Reviews(), output_dir=str(tmp_path), data={"batch_size": 8, "group_by_length": True}, schedule="hf",
        lightning={"max_epochs": 6, "accelerator": "cpu"}, callbacks={"progress": None}, monitor="a_loss",
    )  # fmt: skip
    assert result.metrics["a_accuracy"] == result.metrics["b_accuracy"] == 1.0
    log = (Path(result.folder) / "log.txt").read_text()
    assert "columns left out, which BertForSequenceClassification.forward does not take: text, idx" in log
    assert "batches are padded by self.tokenizer" in log
    assert "all predictions and labels" in log
    assert json.loads((Path(result.folder) / "run.json").read_text())["best"]["metric"] == "a_loss"


def test_a_column_that_the_trainer_names_stays() -> None:
    module, data = nl.adapt(Numbered())
    data.setup("fit")
    found = next(iter(data.train_dataloader()))
    assert set(found) == {"idx", "labels", "input_ids", "attention_mask"}
