"""The sections of a configuration, with the types that the classes of settings give to what is in them."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import fields
from functools import cache
from typing import Any

from omegaconf import DictConfig, OmegaConf

from nimble_lightning.cli.schema.parameters import Signature, from_text
from nimble_lightning.settings import LAUNCHERS, SECTIONS, Launch, RunSettings, chosen_launch

# The section of those that are in none.
TOP = ""
NAMES = (TOP, *SECTIONS, "launch")


@cache
def signature_of(section: str) -> Signature:
    """The settings of a section; of `launch`, those of all launchers."""
    return from_text(_types(section), section)


def takes_any_key(section: str, key: str) -> bool:
    """Whether a setting is a mapping of whatever somebody else takes."""
    parameter = signature_of(section).parameters.get(key) if section in NAMES else None
    return parameter is not None and "Mapping" in ast.unparse(parameter.annotation or ast.Constant(None))


def launch_of(config: DictConfig) -> Launch:
    """The launcher of a composed configuration.

    Raises:
        RequestError: There is none of its name.
    """
    given: Any = OmegaConf.to_container(config.launch, resolve=True)
    return chosen_launch(given)


def _types(section: str) -> Mapping[str, str]:
    if section == "launch":
        of_all = {name: text for kind in LAUNCHERS.values() for name, text in _of_class(kind).items()}
        return {**of_all, "name": f"Literal{[*LAUNCHERS]}"}
    if section != TOP:
        return _of_class(SECTIONS[section])
    # What is in them is checked with each of them.
    nested = {**dict.fromkeys(NAMES[1:], "dict"), "trial": "dict | None"}
    return {**_of_class(RunSettings), **nested}


def _of_class(kind: type[Any]) -> dict[str, str]:
    """The annotations of a class of settings, which are texts."""
    return {f.name: str(f.type) for f in fields(kind)}
