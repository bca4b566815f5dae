"""Plain `key=value` made into what Hydra accepts, with no `+` needed for anything that exists."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, open_dict

from nimble_lightning.cli.arguments import candidates
from nimble_lightning.cli.compose import Composer, as_value
from nimble_lightning.cli.schema.parameters import of_target
from nimble_lightning.cli.schema.sections import NAMES, TOP, takes_any_key
from nimble_lightning.cli.suggestions import names_of, unknown_key
from nimble_lightning.errors import RequestError
from nimble_lightning.runs.request.setting_blocks import GROUPS, no_member

# Sections that take keys their YAML does not list; which ones is checked against signatures afterwards.
_OPEN = ("params", "lightning")


def rewrite(
    overrides: Sequence[Override], config: DictConfig, composer: Composer, other_keys: Sequence[str] = ()
) -> list[str]:
    """The overrides as Hydra is to get them. Members that were turned on are added to `config`.

    Args:
        overrides: As typed.
        config: Composed from the groups they choose.
        composer: Reads members that are off so far.
        other_keys: Keys that exist though the configuration does not list them.

    Raises:
        RequestError: A key exists nowhere; the nearest one is named.
    """
    written: list[str] = []
    for override in overrides:
        if composer.decides(override):
            written.append(str(override.input_line))
            continue
        group, member, rest = _parts(override.key_or_group)
        if group in GROUPS and member:
            _require_member(group, member, config, composer)
            # Naming a member that is off turns it on.
            if rest or not _is_off(override):
                written += _turn_on(group, member, config, composer)
            if not rest and (_is_switch(override) or not _exists(f"{group}.{member}", config)):
                continue
        _require(override, config, composer, other_keys)
        written.append(_plain(override, config))
    return written


def _require_member(group: str, member: str, config: DictConfig, composer: Composer) -> None:
    options = {*composer.options(group)} - {"default", "none"}
    if member not in options and not _exists(f"{group}.{member}", config):
        raise RequestError(no_member(group, member, options))


def _turn_on(group: str, member: str, config: DictConfig, composer: Composer) -> list[str]:
    """What has to come before an override of a member: its whole block, if it is off so far."""
    section = config.get(group)
    off = not isinstance(section, DictConfig) or section.get(member) is None
    if not off or member not in composer.options(group):
        return []
    block = composer.block(group, member)
    with open_dict(config):
        config[group] = {**(section or {}), member: block}
    return [f"++{group}.{member}={as_value(block)}"]


def _plain(override: Override, config: DictConfig) -> str:
    key, text = override.key_or_group, str(override.input_line)
    head, _, rest = key.partition(".")
    if _is_off(override) and head in GROUPS and "." not in rest:
        return f"{key}=null"
    return f"++{text}" if head in _OPEN or not _exists(key, config) else text


def _require(override: Override, config: DictConfig, composer: Composer, other_keys: Sequence[str]) -> None:
    key = override.key_or_group
    head, _, rest = key.partition(".")
    if (head in _OPEN and rest) or _exists(key, config) or _may_be_given(key, config):
        return
    if elsewhere := _choices_with(head, rest, composer):
        raise RequestError(
            f"There is no {key} as it is; {' and '.join(f'{head}={choice}' for choice in elsewhere)} "
            f"{'has' if len(elsewhere) == 1 else 'have'} it: choose one"
        )
    known = [*names_of(config), *other_keys]
    for group, options in composer.groups.items():
        known += [f"{group}.{option}" for option in options if group in GROUPS]
    raise RequestError(
        unknown_key(key, override.get_value_string(), known, composer.groups, closed={*NAMES} - {TOP})
    )


def _choices_with(group: str, key: str, composer: Composer) -> list[str]:
    """The choices of a group, other than the one that is made, which have a key."""
    if group in GROUPS or not key:
        return []
    return [
        choice
        for choice in composer.options(group)
        if _exists(f"{group}.{key}", composer.compose([f"{group}={choice}"]))
    ]


def _exists(key: str, config: DictConfig) -> bool:
    node: Any = config
    for part in key.split("."):
        if not isinstance(node, DictConfig) or node._is_none() or part not in node:
            return False
        node = node._get_node(part)
    return True


def _may_be_given(key: str, config: DictConfig) -> bool:
    """Whether a key that is not listed belongs to something that may take it, which is checked later."""
    node: Any = config
    *parents, last = key.split(".")
    for depth, part in enumerate(parents):
        if not isinstance(node, DictConfig) or part not in node:
            return False
        node = node._get_node(part)
        section = ".".join(parents[:depth])
        if depth and takes_any_key(section, part):
            return True
    if not isinstance(node, DictConfig) or "_target_" not in node:
        return False
    signature = of_target(str(node["_target_"]))
    # A class that takes nothing at all stands for nothing being chosen.
    return bool(last) and (signature is None or signature.open or bool(signature.parameters))


def _parts(key: str) -> tuple[str, str, str]:
    group, _, rest = key.partition(".")
    member, _, inner = rest.partition(".")
    return group, member, inner


def _is_switch(override: Override) -> bool:
    return candidates(override) == [True]


def _is_off(override: Override) -> bool:
    return candidates(override) in ([None], [False])
