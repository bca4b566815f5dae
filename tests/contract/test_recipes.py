"""Every recipe composes, and its model can be built, without its weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from transformers import AutoConfig, AutoModelForCausalLM

from nimble_lightning.cli.arguments import parse
from nimble_lightning.cli.request_plan import make_plan

CONF = Path(__file__).parents[2] / "conf/recipe"
RECIPES = sorted(path.relative_to(CONF).with_suffix("").as_posix() for path in CONF.rglob("*.yaml"))
# What the config.json of each model says, and the millions of parameters that come of it.
MODELS: dict[str, tuple[str, dict[str, Any], float]] = {
    "HuggingFaceTB/SmolLM2-135M-Instruct": (
        "llama",
        {
            **{"hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30, "vocab_size": 49152},
            **{"num_attention_heads": 9, "num_key_value_heads": 3, "max_position_embeddings": 8192},
            **{"rope_theta": 100000, "tie_word_embeddings": True, "rms_norm_eps": 1e-5},
        },
        134.5,
    )
}


def composed(recipe: str) -> Any:
    return OmegaConf.to_container(make_plan(parse([f"recipe={recipe}", "data=chats.jsonl"])).config)


@pytest.mark.parametrize("recipe", RECIPES)
def test_it_composes_with_nothing_but_data(recipe: str) -> None:
    config = composed(recipe)
    assert config["trainer"].startswith("nimble_lightning.llm:")
    assert config["params"]["data"] == "chats.jsonl"


@pytest.mark.parametrize("recipe", RECIPES)
def test_its_model_is_built_without_weights_and_takes_its_rows(recipe: str) -> None:
    params = composed(recipe)["params"]
    kind, sizes, millions = MODELS[params["model"]]
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **sizes))
    assert sum(p.numel() for p in model.parameters()) / 1e6 == pytest.approx(millions, abs=0.1)
    assert params["longest"] <= sizes["max_position_embeddings"]
    assert hasattr(model, "get_decoder")
