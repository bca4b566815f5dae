"""Models of Hugging Face, loaded for the task of the trained one."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification, BertModel, GPT2Config, GPT2LMHeadModel

from nimble_lightning.errors import RequestError
from nimble_lightning.validators import references

SMALL: dict[str, Any] = {
    "hidden_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 8,
    "vocab_size": 20,
}


def saved(model: Any, name: str) -> str:
    model.save_pretrained(name)
    return str(Path(name).resolve())


def test_a_folder_gives_a_model_for_the_same_task_with_its_own_weights() -> None:
    reference = BertForSequenceClassification(BertConfig(**SMALL, num_labels=3))
    place = saved(reference, "reference")
    assert references.is_model_folder(Path(place))
    trained = BertForSequenceClassification(BertConfig(**{**SMALL, "hidden_size": 4}, num_labels=3))
    loaded = references.load_from_hub(place, trained)
    assert isinstance(loaded, BertForSequenceClassification)
    assert torch.equal(loaded.classifier.weight, reference.classifier.weight)


def test_another_kind_of_model_for_the_same_task_is_a_reference_too() -> None:
    place = saved(GPT2LMHeadModel(GPT2Config(n_embd=8, n_layer=1, n_head=2, vocab_size=20)), "gpt")
    from transformers import LlamaConfig, LlamaForCausalLM

    trained = LlamaForCausalLM(LlamaConfig(**SMALL))
    assert isinstance(references.load_from_hub(place, trained), GPT2LMHeadModel)


def test_a_head_that_the_reference_does_not_have_is_said_to_be_untrained(
    caplog: pytest.LogCaptureFixture,
) -> None:
    place = saved(BertModel(BertConfig(**SMALL)), "headless")
    trained = BertForSequenceClassification(BertConfig(**SMALL, num_labels=5))
    with caplog.at_level(logging.WARNING, logger="nimble_lightning"):
        loaded = references.load_from_hub(place, trained)
    assert loaded.classifier.out_features == 5
    assert "evaluated untrained" in caplog.text


def test_a_plain_module_cannot_be_replaced_by_a_model_of_the_hub() -> None:
    place = saved(BertModel(BertConfig(**SMALL)), "headless")
    with pytest.raises(RequestError, match=r"baseline\(self\)"):
        references.load_from_hub(place, torch.nn.Linear(1, 1))


def test_what_is_nowhere_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(RequestError, match="did you mean bert-tiny"):
        references.require_on_hub("bert-tinny", ["bert-tiny", "gpt2"])
    with pytest.raises(RequestError, match="does not exist"):
        references.require_on_hub("../no/such/folder", [])
