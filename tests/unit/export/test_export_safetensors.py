from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from nimble_lightning.errors import ExportError
from nimble_lightning.export import safetensors
from nimble_lightning.export.exportable_models import ExportedModel


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(6, 4)
        self.head = nn.Linear(4, 6, bias=False)
        self.head.weight = self.embed.weight
        self.register_buffer("transposed", torch.arange(6.0).view(2, 3).t())
        self.register_buffer("row", torch.arange(6.0).view(2, 3)[1])


def test_tied_weights_are_written_once_and_read_back_under_both_names(tmp_path: Path) -> None:
    model = ExportedModel("model", Tied())
    safetensors.save(model, tmp_path)
    safetensors.require_same(model, tmp_path)
    assert set(load_file(tmp_path / safetensors.WEIGHTS)) == {"embed.weight", "transposed", "row"}
    other = Tied()
    safetensors.load_into(other, tmp_path / safetensors.WEIGHTS)
    assert torch.equal(other.head.weight, model.module.embed.weight)
    assert other.head.weight is other.embed.weight


def test_a_file_with_another_bit_is_not_the_model(tmp_path: Path) -> None:
    model = ExportedModel("model", nn.Linear(3, 3))
    safetensors.save(model, tmp_path)
    tensors = load_file(tmp_path / safetensors.WEIGHTS)
    tensors["weight"][0, 0] += 1
    save_file(tensors, tmp_path / safetensors.WEIGHTS)
    with pytest.raises(ExportError, match="weight has other values"):
        safetensors.require_same(model, tmp_path)


def test_the_weights_of_a_checkpoint_can_be_saved_for_a_model_that_goes_on_training(tmp_path: Path) -> None:
    model = ExportedModel("model", nn.Linear(3, 3))
    state = {name: torch.zeros_like(value) for name, value in model.module.state_dict().items()}
    safetensors.save(model, tmp_path, state)
    safetensors.require_same(model, tmp_path, state)
    assert not load_file(tmp_path / safetensors.WEIGHTS)["weight"].any()
    assert model.module.weight.any()


def test_state_that_is_no_tensor_is_refused(tmp_path: Path) -> None:
    class Odd(nn.Linear):
        def get_extra_state(self):
            return {"count": 1}

        def set_extra_state(self, state):
            """Nothing."""

    with pytest.raises(ExportError, match="_extra_state is a dict"):
        safetensors.save(ExportedModel("model", Odd(1, 1)), tmp_path)


def test_a_hugging_face_model_comes_back_by_from_pretrained_with_its_weights_tied(tmp_path: Path) -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=16, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2
    )
    config.tie_word_embeddings = True
    model = ExportedModel("model", LlamaForCausalLM(config))
    safetensors.save(model, tmp_path)
    safetensors.require_same(model, tmp_path)
    back = safetensors.from_pretrained(LlamaForCausalLM, tmp_path)
    assert back.lm_head.weight is back.model.embed_tokens.weight
    with torch.no_grad():
        model.module.lm_head.weight[0, 0] += 1
    with pytest.raises(ExportError, match="has other values"):
        safetensors.require_same(model, tmp_path)


def test_a_class_is_found_by_its_full_name_and_one_that_is_not_there_is_said() -> None:
    assert safetensors.class_called("torch.nn.modules.linear.Linear") is nn.Linear
    for name in ("no_such_module.Thing", "torch.nn.NoSuchThing", "Thing"):
        with pytest.raises(LookupError):
            safetensors.class_called(name)
