from __future__ import annotations

from types import SimpleNamespace

import lightning as L
import pytest
import torch
from torch import nn
from torchmetrics import MeanMetric

from nimble_lightning.errors import ExportError
from nimble_lightning.export.exportable_models import companions_of, is_hugging_face, models_of, plain


def names(owner: object) -> list[str]:
    return [model.name for model in models_of(owner)]


def test_what_is_trained_is_a_model_and_metrics_losses_and_teachers_are_not() -> None:
    body = nn.Linear(2, 2)
    teacher = nn.Linear(2, 2).requires_grad_(False)
    owner = SimpleNamespace(body=body, teacher=teacher, loss=nn.CrossEntropyLoss(), mean=MeanMetric(), lr=1.0)
    assert names(owner) == ["body"]


def test_frozen_models_are_exported_where_there_are_no_others() -> None:
    assert names(SimpleNamespace(teacher=nn.Linear(2, 2).requires_grad_(False))) == ["teacher"]


def test_a_part_of_a_model_and_its_second_name_are_not_exported_again() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    assert names(SimpleNamespace(model=model, head=model[1], also=model)) == ["model"]
    assert names(SimpleNamespace(head=model[1], model=model)) == ["model"]


def test_a_compiled_model_is_the_model_that_was_compiled() -> None:
    class Optimized(nn.Module):
        """As torch.compile makes it, which would take seconds."""

        def __init__(self, module: nn.Module) -> None:
            super().__init__()
            self._orig_mod = module

    model = nn.Linear(2, 2)
    assert plain(Optimized(model)) is model
    assert models_of(SimpleNamespace(model=Optimized(model)))[0].module is model


def test_a_lightning_module_with_a_forward_is_one_model_and_else_its_parts_are() -> None:
    class Parts(L.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Linear(2, 2)

    class Whole(Parts):
        def forward(self, x):
            return self.net(x)

    assert names(Parts()) == ["net"]
    assert names(Whole()) == ["model"]


def test_a_trainer_without_a_model_is_refused() -> None:
    with pytest.raises(ExportError, match="holds no model"):
        models_of(SimpleNamespace(x=torch.zeros(2)))


def test_tokenizers_and_processors_go_along_processors_last() -> None:
    def thing(**attributes: object) -> SimpleNamespace:
        return SimpleNamespace(save_pretrained=lambda folder: None, **attributes)

    tokenizer, processor = thing(), thing(tokenizer=1)
    owner = SimpleNamespace(processor=processor, tokenizer=tokenizer, model=nn.Linear(1, 1))
    assert companions_of(owner) == [tokenizer, processor]


def test_a_plain_module_is_none_of_hugging_faces() -> None:
    assert not is_hugging_face(nn.Linear(2, 2))
