"""Models train in training mode, but for what was frozen in eval mode."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from torch import nn

from nimble_lightning.adapters import adapt
from nimble_lightning.adapters.training_mode import set_training_mode
from nimble_lightning.settings import ModelSettings, RunSettings


def pretrained(folder: Path) -> Any:
    from transformers import BertConfig, BertForSequenceClassification

    sizes = {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 8}
    BertForSequenceClassification(BertConfig(vocab_size=16, **sizes)).save_pretrained(folder)
    return BertForSequenceClassification.from_pretrained(folder)


def in_eval(model: nn.Module) -> set[str]:
    set_training_mode(model, "model")
    return {name for name, part in model.named_modules() if not part.training}


def test_a_pretrained_model_trains_in_training_mode(tmp_path: Path) -> None:
    model = pretrained(tmp_path)
    assert not model.training
    assert not in_eval(model)


def test_so_it_does_with_a_new_head_alone_or_within_a_model_of_ones_own(tmp_path: Path) -> None:
    model = pretrained(tmp_path)
    model.classifier = nn.Linear(8, 5)
    assert not in_eval(model)
    assert not in_eval(nn.ModuleDict({"backbone": pretrained(tmp_path), "head": nn.Linear(8, 5)}))


def test_so_it_does_with_adapters_between_frozen_layers(tmp_path: Path) -> None:
    model = pretrained(tmp_path).requires_grad_(False)
    for layer in model.bert.encoder.layer:
        layer.attention.self.query = nn.Sequential(layer.attention.self.query, nn.Linear(8, 8))
    assert not in_eval(model)


def test_a_frozen_backbone_stays_in_eval_mode_and_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = pretrained(tmp_path)
    model.bert.requires_grad_(False)
    with caplog.at_level(logging.INFO):
        stayed = in_eval(model)
    assert stayed == {f"bert{n and '.'}{n}" for n, _ in model.bert.named_modules()}
    assert "model.bert" in caplog.text
    assert model.dropout.training


def test_a_frozen_teacher_stays_in_eval_mode() -> None:
    teacher = nn.Sequential(nn.Linear(2, 2), nn.Dropout()).eval().requires_grad_(False)
    assert {"teacher", "teacher.0", "teacher.1"} == in_eval(nn.ModuleDict({"teacher": teacher}))


def test_layers_that_were_put_into_eval_mode_one_by_one_stay_in_it() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2), nn.Dropout())
    model[1].eval()
    model[2].eval()
    assert in_eval(model) == {"1", "2"}


def test_a_frozen_batch_norm_of_a_model_in_eval_mode_stays_in_it() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2), nn.BatchNorm1d(2, affine=False)).eval()
    model[1].requires_grad_(False)
    assert in_eval(model) == {"1"}


def test_a_train_method_of_ones_own_is_called() -> None:
    class Kept(nn.Sequential):
        def train(self, mode: bool = True) -> Any:
            super().train(mode)
            self[1].eval()
            return self

    assert in_eval(Kept(nn.Linear(2, 2), nn.Sequential(nn.BatchNorm1d(2)))) == {"1", "1.0"}


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer, self.dropout, self.calls = nn.Linear(1, 1), nn.Dropout(0.5), 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += self.training
        return self.dropout(self.layer(x))  # type: ignore[no-any-return]


def test_dropout_and_recomputation_act_on_a_model_that_came_in_eval_mode() -> None:
    class Dropping:
        def pre_process(self) -> None:
            self.train_data = self.eval_data = torch.ones(8, 1)
            self.model = nn.Sequential(Block(), Block()).eval()

        def train(self, batch: Any) -> Any:
            return self.model(batch).square().mean()

    module, data = adapt(Dropping(), settings=RunSettings(model=ModelSettings(gradient_checkpointing=True)))
    lightning = L.Trainer(
        max_epochs=3, accelerator="cpu", logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    lightning.fit(module, datamodule=data)
    # Once forward and once more backward, in training alone.
    model: Any = module.model
    assert model[0].calls == 2 * lightning.global_step == 6
