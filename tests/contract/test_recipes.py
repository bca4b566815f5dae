"""Every recipe composes, and its model can be built, without its weights."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from transformers import AutoConfig, AutoModelForCausalLM

from nimble_lightning.cli.arguments import parse
from nimble_lightning.cli.request_plan import make_plan
from nimble_lightning.errors import RequestError
from nimble_lightning.validators.models import models

CONF = Path(__file__).parents[2] / "conf/recipe"
TASKS = ("dpo", "kto", "lora", "pretrain", "reward", "sft")
FOLDERS = sorted(path.name for path in CONF.iterdir() if path.is_dir() and path.name != "any")
RECIPES = [f"{folder}/{task}" for folder in FOLDERS for task in TASKS]
# What the config.json of each model says.
SIZES: dict[str, tuple[str, dict[str, Any]]] = json.loads(
    Path(__file__).with_name("model_sizes.json").read_text()
)


def composed(recipe: str, *words: str) -> Any:
    return OmegaConf.to_container(make_plan(parse([f"recipe={recipe}", "data=texts.jsonl", *words])).config)


def family_of(place: str) -> str:
    (name,) = [model.name for model in map(models.about, models) if model.place == place]
    return max((family for family in SIZES if name.startswith(family)), key=len)


@cache
def built(family: str) -> Any:
    kind, sizes = SIZES[family]
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **sizes))


def test_there_is_one_of_each_task_for_each_model() -> None:
    files = sorted(path.relative_to(CONF).with_suffix("").as_posix() for path in CONF.rglob("*.yaml"))
    assert files == sorted([*RECIPES, *(f"any/{task}" for task in TASKS)])
    assert len(FOLDERS) >= 10


@pytest.mark.parametrize("recipe", RECIPES)
def test_it_is_the_shared_one_with_a_model_that_has_a_name_here(recipe: str) -> None:
    file = CONF / f"{recipe}.yaml"
    content = OmegaConf.to_container(OmegaConf.load(file))
    assert isinstance(content, dict)
    assert content["defaults"] == [f"/recipe/any/{recipe.partition('/')[2]}", "_self_"]
    assert content.keys() <= {"defaults", "params", "optim"}
    model = next(model for model in map(models.about, models) if model.place == content["params"]["model"])
    licence = file.read_text().splitlines()[1].partition("(")[2].partition(")")[0]
    assert licence.startswith(model.licence)


@pytest.mark.parametrize(
    "task",
    [
        "lora",
        "pretrain",
        pytest.param("sft", marks=pytest.mark.slow),
        *(pytest.param(task, marks=pytest.mark.slow) for task in ("dpo", "kto", "reward")),
    ],
)
def test_a_task_composes_for_a_model_that_is_given_and_not_without(task: str) -> None:
    config = composed(f"any/{task}", "model=org/model")
    assert config["trainer"].startswith("nimble_lightning.llm:")
    assert (config["params"]["model"], config["params"]["data"]) == ("org/model", "texts.jsonl")
    kept = composed(f"smollm2_1_7b/{task}")
    assert kept["params"] == {**config["params"], "model": kept["params"]["model"]}
    if task != "pretrain":
        with pytest.raises(RequestError, match="params.model is missing"):
            composed(f"any/{task}")


@pytest.mark.slow
@pytest.mark.parametrize("recipe", RECIPES)
def test_it_composes_with_nothing_but_data(recipe: str) -> None:
    params = composed(recipe)["params"]
    limit = SIZES[family_of(params["model"])][1]["max_position_embeddings"]
    assert params.get("longest", params.get("length")) <= limit


@pytest.mark.parametrize("family", SIZES)
def test_what_is_said_of_a_model_is_what_its_sizes_come_to(family: str) -> None:
    model = built(family)
    size = sum(parameter.numel() for parameter in model.parameters())
    assert hasattr(model, "get_decoder")
    told = [models.about(name) for name in models if family_of_name(name) == family]
    assert told
    for one in told:
        assert one.parameters == size
        assert one.context is not None
        assert one.context <= SIZES[family][1]["max_position_embeddings"]
    layers = [part for part in model.get_decoder().modules() if isinstance(part, torch.nn.Linear)]
    assert {one.adapter for one in told} == {16 * sum(sum(layer.weight.shape) for layer in layers)}


def family_of_name(name: str) -> str | None:
    return max((family for family in SIZES if name.startswith(family)), key=len, default=None)
