"""What is told of a configuration is what differs, and asking for that again gives the same configuration."""

from __future__ import annotations

from typing import Any

import pytest
from omegaconf import OmegaConf

from nimble_lightning.cli.arguments import parse
from nimble_lightning.cli.request_plan import make_plan
from nimble_lightning.ops import yaml_files
from nimble_lightning.report import changed_settings, shipped_defaults


def composed(*overrides: str) -> dict[str, Any]:
    config = make_plan(parse([*overrides]), required=False).config
    return yaml_files.load(OmegaConf.to_yaml(config))  # type: ignore[no-any-return]


ASKED = [
    [],
    ["data.batch_size=64", "lightning.max_epochs=3"],
    ["optim=sgd", "optim.lr=0.1", "schedule=cosine"],
    ["callbacks.early_stopping=true", "monitor=val_loss", "callbacks.early_stopping.patience=9", "mode=min"],
    ["callbacks.progress=null", "logger=[jsonl,csv]", "strategy=fsdp"],
    ["callbacks.best_checkpoint.dirpath='with space, and comma'", "logger=none"],
    ["lightning.devices=[0,1]", "model.compile={mode: max-autotune}", "launch=inline"],
]


@pytest.mark.parametrize("asked", ASKED, ids=lambda asked: " ".join(asked) or "nothing")
def test_asking_for_what_is_told_gives_the_same_again(asked: list[str]) -> None:
    job = composed(*asked)
    assert composed(*changed_settings.overrides(job)) == job


def test_the_defaults_read_here_are_those_hydra_composes() -> None:
    ours, theirs = (
        dict(shipped_defaults.leaves(found)) for found in (shipped_defaults.defaults(), composed())
    )
    theirs = {path: value for path, value in theirs.items() if path[0] != "experiment"}
    assert ours == theirs


def test_only_what_differs_is_told() -> None:
    off_and_on = ["callbacks.progress=null", "callbacks.ema=true", "callbacks.non_finite.budget=3"]
    job = composed("optim=sgd", "optim.lr=0.1", "data.batch_size=64", *off_and_on)
    told = {d.key: (d.value, d.usual) for d in changed_settings.differences(job)}
    assert told == {
        "optim": ("sgd", "adamw"),
        "optim.lr": ("0.1", "null"),
        "data.batch_size": ("64", "32"),
        "callbacks.ema": ("on", "off"),
        "callbacks.non_finite.budget": ("3", "10"),
        "callbacks.progress": ("off", "on"),
    }


@pytest.mark.parametrize(
    "value", ["a b", "1e5", "null", "it's", "a,b", "x=y", "${oc.env:A}", "", 1.5, True, None, [1, "a b"]]
)
def test_a_value_is_written_so_that_it_is_read_as_it_is(value: Any) -> None:
    from hydra.core.override_parser.overrides_parser import OverridesParser

    (override,) = OverridesParser.create().parse_overrides([f"key={changed_settings.value(value)}"])
    read = override.value()
    assert (
        getattr(read, "text", read) if not isinstance(read, list) else [getattr(r, "text", r) for r in read]
    ) == value
