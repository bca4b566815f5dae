"""`nimble-cli models`: which models have a name here, how large they are, which recipes they have."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from importlib import resources
from typing import Any

from omegaconf import OmegaConf

from nimble_lightning.commands.argument_parser import Parser
from nimble_lightning.errors import RequestError
from nimble_lightning.ops.exit_codes import ExitCode
from nimble_lightning.validators.models import KnownModel, models

_HEADINGS = ("name", "parameters", "context", "whole", "LoRA", "licence")
_TASKS = ("sft", "lora", "dpo", "kto", "reward", "pretrain")
_EXPLAINED = (
    "whole, LoRA: computed, 16 bytes a trained parameter (float32 weight, gradient,\n"
    "AdamW), 4 a frozen one; adapters are of rank 16. Activations come on top:\n"
    "nimble-cli plan recipe=NAME data=FILE tells all."
)


def main(words: Sequence[str]) -> int:
    """Print the table, or that of the models whose names have all of some words; returns the exit code."""
    parser = Parser("models", "List models by name: size, licence, memory, recipes.")
    parser.add_argument("WORD", nargs="*", help="that a name or its recipes have, such as qwen")
    parser.add_argument("--json", action="store_true", help="for programs")
    asked = parser.read(words)
    by_place = _recipes()
    found = [(model, by_place.get(model.place, [])) for model in map(models.about, models)]
    wanted = [word.lower() for word in asked.WORD]
    chosen = [
        (model, recipes)
        for model, recipes in found
        if all(word in " ".join([model.name, model.place, *recipes]).lower() for word in wanted)
    ]
    if not chosen:
        raise RequestError(f"no model is called like {' '.join(asked.WORD)}; nimble-cli models lists all")
    if asked.json:
        print(json.dumps([_plain(model, recipes) for model, recipes in chosen], indent=2))
    else:
        heading, *lines = _aligned([_HEADINGS, *(_row(model) for model, _ in chosen)])
        told = [text for line, one in zip(lines, chosen, strict=True) for text in (line, _where(*one))]
        print("\n".join([heading, *told, "", _EXPLAINED]))
    return ExitCode.FINISHED


def _recipes() -> dict[str, list[str]]:
    """The names of recipes by the model that each is for."""
    found: dict[str, list[str]] = {}
    for folder in sorted(_files("recipe"), key=lambda entry: entry.name):
        for task in _TASKS:
            recipe = folder / f"{task}.yaml"
            place = (
                OmegaConf.select(OmegaConf.create(recipe.read_text()), "params.model")
                if recipe.is_file()
                else None
            )
            if place is not None:
                found.setdefault(str(place), []).append(f"{folder.name}/{task}")
    return found


def _files(group: str) -> list[Any]:
    return [entry for entry in (resources.files("nimble_lightning.conf") / group).iterdir() if entry.is_dir()]


def _plain(model: KnownModel, recipes: list[str]) -> dict[str, Any]:
    needs = {"bytes_whole": model.bytes_whole, "bytes_adapter": model.bytes_adapter}
    return {**asdict(model), **needs, "recipes": recipes}


def _where(model: KnownModel, recipes: list[str]) -> str:
    """What it is called elsewhere, and which recipes are for it."""
    folder = recipes[0].partition("/")[0] if recipes else ""
    tasks = ",".join(recipe.partition("/")[2] for recipe in recipes)
    return f"  {model.place}" + (f"  {folder}/{tasks}" if recipes else "")


def _row(model: KnownModel) -> tuple[str, ...]:
    return (
        model.name,
        "" if model.parameters is None else _count(model.parameters),
        "" if model.context is None else f"{model.context:,}",
        _gib(model.bytes_whole),
        _gib(model.bytes_adapter),
        model.licence,
    )


def _count(number: int) -> str:
    return f"{number / 1e9:.2f} B" if number >= 1e9 else f"{number / 1e6:.1f} M"


def _gib(size: int | None) -> str:
    return "" if size is None else f"{size / 2**30:.1f} GiB"


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    numbers = range(1, 5)
    return [
        "  ".join(
            text.rjust(width) if number in numbers else text.ljust(width)
            for number, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
