"""The settings that are shipped, without Hydra: what a run has when nobody asks for anything."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from nimble_lightning.ops import yaml_files

_CONF = "nimble_lightning.conf"
_PACKAGE = re.compile(r"^# @package (\S+)")


@cache
def groups() -> tuple[str, ...]:
    """The names of the groups."""
    folders = (f.name for f in files(_CONF).iterdir() if f.is_dir())
    return tuple(sorted(name for name in folders if choices(name)))


@cache
def choices(group: str) -> tuple[str, ...]:
    """The names of the files of a group."""
    folder = files(_CONF) / group
    if not folder.is_dir():
        return ()
    return tuple(sorted(f.name.removesuffix(".yaml") for f in folder.iterdir() if f.name.endswith(".yaml")))


@cache
def block(group: str, choice: str) -> dict[str, Any]:
    """What one choice of a group puts into a configuration."""
    text = (files(_CONF) / group / f"{choice}.yaml").read_text(encoding="utf-8")
    content = yaml_files.load(text) or {}
    own = {name: value for name, value in content.items() if name != "defaults"}
    header = _PACKAGE.match(text)
    section = header[1] if header else group
    found = own if section == "_global_" else {section: own}
    for other in content.get("defaults", ()):
        if isinstance(other, str) and other in choices(group):
            found = merged(found, block(group, other))
    return found


@cache
def chosen() -> dict[str, str]:
    """The groups and the choice that is made in each unless another is asked for."""
    entries = _root().get("defaults", ())
    pairs = (next(iter(entry.items())) for entry in entries if isinstance(entry, dict))
    return {group: choice for group, choice in pairs if isinstance(choice, str) and " " not in group}


def defaults(choice: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The whole configuration, with these choices instead of the usual ones."""
    found: dict[str, Any] = {}
    for group, name in {**chosen(), **(choice or {})}.items():
        found = merged(found, block(group, name))
    root = {name: value for name, value in _root().items() if name not in ("defaults", "hydra")}
    return merged(found, root)


def merged(left: Mapping[str, Any], right: Mapping[str, Any]) -> dict[str, Any]:
    """Both, the right one having the last word."""
    both = dict(left)
    for name, value in right.items():
        mine = both.get(name)
        both[name] = merged(mine, value) if isinstance(mine, dict) and isinstance(value, dict) else value
    return both


def leaves(node: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """The settings in a configuration, with the way to each; lists and empty sections are settings."""
    if isinstance(node, Mapping) and (node or not path):
        for name, value in node.items():
            yield from leaves(value, (*path, str(name)))
    else:
        yield path, node


@cache
def _root() -> dict[str, Any]:
    content = yaml_files.load((files(_CONF) / "config.yaml").read_text(encoding="utf-8"))
    return content if isinstance(content, dict) else {}
