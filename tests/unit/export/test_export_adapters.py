"""An adapter is exported as PEFT saves it, and opens on the model it names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from nimble_lightning.errors import ExportError
from nimble_lightning.export import safetensors
from nimble_lightning.export.exportable_models import ExportedModel

peft = pytest.importorskip("peft")


@pytest.fixture
def model(tmp_path: Path) -> ExportedModel:
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2}
    config = LlamaConfig(vocab_size=32, num_attention_heads=2, num_key_value_heads=1, **sizes)
    LlamaForCausalLM(config).save_pretrained(tmp_path / "base")
    base = LlamaForCausalLM.from_pretrained(tmp_path / "base")
    adapter = peft.LoraConfig(r=2, target_modules="all-linear", task_type="CAUSAL_LM")
    module = peft.get_peft_model(base, adapter)
    for name, parameter in module.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter)
    return ExportedModel("model", module.eval())


def logits(module: Any) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = module(torch.arange(8)[None]).logits
        return found


def test_both_libraries_open_it_on_the_model_it_names(tmp_path: Path, model: ExportedModel) -> None:
    out = tmp_path / "out"
    safetensors.save(model, out)
    safetensors.require_same(model, out)
    # With the base's config.json beside it, transformers would look for the base's weights here.
    assert {path.name for path in out.iterdir()} == {"adapter_config.json", "adapter_model.safetensors"}
    wanted = logits(model.module)
    for opened in (peft.AutoPeftModelForCausalLM, AutoModelForCausalLM, LlamaForCausalLM):
        assert torch.equal(logits(opened.from_pretrained(out).eval()), wanted)


def test_weights_of_a_checkpoint_are_those_of_its_adapter(tmp_path: Path, model: ExportedModel) -> None:
    state = {name: value + 1 for name, value in model.module.state_dict().items()}
    safetensors.save(model, tmp_path / "out", state)
    safetensors.require_same(model, tmp_path / "out", state)


def test_an_adapter_with_another_bit_is_not_the_model(tmp_path: Path, model: ExportedModel) -> None:
    safetensors.save(model, tmp_path)
    tensors = load_file(tmp_path / safetensors.ADAPTER)
    next(iter(tensors.values()))[0, 0] += 1
    save_file(tensors, tmp_path / safetensors.ADAPTER)
    with pytest.raises(ExportError, match="has other values"):
        safetensors.require_same(model, tmp_path)
