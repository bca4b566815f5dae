"""An adapter is exported as PEFT saves it, and opens on the model it names."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from nimble_lightning.errors import ExportError, RequestError
from nimble_lightning.export import merged_adapter, safetensors
from nimble_lightning.export.exportable_models import ExportedModel

peft = pytest.importorskip("peft")


def adapted(
    folder: Path, *, targets: Any = "all-linear", use_dora: bool = False, **more: Any
) -> ExportedModel:
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, **more}
    config = LlamaConfig(vocab_size=32, num_attention_heads=2, num_key_value_heads=1, **sizes)
    LlamaForCausalLM(config).save_pretrained(folder / "base")
    base = LlamaForCausalLM.from_pretrained(folder / "base")
    adapter = peft.LoraConfig(r=2, target_modules=targets, task_type="CAUSAL_LM", use_dora=use_dora)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Model has `tie_word_embeddings=True`")
        module = peft.get_peft_model(base, adapter)
    for name, parameter in module.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter)
    return ExportedModel("model", module.eval())


@pytest.fixture
def model(tmp_path: Path) -> ExportedModel:
    return adapted(tmp_path)


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


@pytest.mark.parametrize("dora", [False, True])
@pytest.mark.parametrize("tied", [False, True])
def test_merged_it_answers_as_on_its_base_without_peft(tmp_path: Path, tied: bool, dora: bool) -> None:
    made = adapted(tmp_path, tie_word_embeddings=tied, targets=["q_proj", "lm_head"], use_dora=dora)
    wanted = logits(made.module)
    merged = merged_adapter.save(made, tmp_path / "out")
    assert type(merged.module) is LlamaForCausalLM
    opened = AutoModelForCausalLM.from_pretrained(tmp_path / "out").eval()
    assert (logits(opened) - wanted).abs().max() <= 1e-5
    assert (
        logits(AutoModelForCausalLM.from_pretrained(tmp_path / "base").eval()) - wanted
    ).abs().max() > 1e-2
    assert not list((tmp_path / "out").glob("adapter*"))


def test_only_the_base_that_was_trained_on_is_merged_with(model: ExportedModel) -> None:
    weights = {name: value.clone() for name, value in model.module.state_dict().items()}
    merged_adapter.require_base(model.module, weights, "model=base")
    half = {name: value.bfloat16() for name, value in weights.items()}
    merged_adapter.require_base(model.module, half, "model=base")
    with torch.no_grad():
        next(p for p in model.module.parameters() if not p.requires_grad)[0, 0] += 1
    with pytest.raises(ExportError, match="model=base is not the model that this run trained on: base_model"):
        merged_adapter.require_base(model.module, weights, "model=base")


def test_a_model_without_an_adapter_has_nothing_to_merge(model: ExportedModel) -> None:
    merged_adapter.require_adapter(model, Path("run/best"))
    whole = ExportedModel("model", model.module.get_base_model())
    with pytest.raises(RequestError, match="nothing to merge: run/best holds the whole of it"):
        merged_adapter.require_adapter(whole, Path("run/best"))
