"""What a run was asked to do differently from what is shipped, as a table and as overrides."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nimble_lightning.report import shipped_defaults

# Who the run is and where: said elsewhere on the page, and on every command.
_IDENTITY = (
    *("trainer", "datamodule", "params", "run_id", "name", "output_dir", "resume", "report"),
    # How it came to be run.
    *("asked", "trial"),
)
_BY_NAME = ("callbacks", "logger")
_GONE = object()
# Text that Hydra takes for text, and a shell for one word, without quotes.
_PLAIN = re.compile(r"[A-Za-z0-9_/.:@+-]+")
_NUMBER = re.compile(r"[-+]?[\d._]+(e[-+]?\d+)?", re.IGNORECASE)
_RESERVED = ("null", "true", "false", "nan", "inf", "+inf", "-inf")


@dataclass(frozen=True)
class Difference:
    """A setting that is not as shipped."""

    key: str
    value: str
    usual: str


def parameters(job: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The trainer's own settings, all of them."""
    params = job.get("params")
    found = shipped_defaults.leaves(params) if isinstance(params, Mapping) else ()
    return [(".".join(path), shown(value)) for path, value in found]


def differences(job: Mapping[str, Any]) -> list[Difference]:
    """Every other setting that is not as shipped: first the choices, then what differs within them."""
    choice = _choices(job)
    found = [
        Difference(group, name, shipped_defaults.chosen().get(group, "")) for group, name in choice.items()
    ]
    base = shipped_defaults.defaults(choice)
    for group in _BY_NAME:
        for name in _more(group, job, base):
            found.append(Difference(f"{group}.{name}", "on", "off"))
            base = shipped_defaults.merged(base, shipped_defaults.block(group, name))
    usual = dict(shipped_defaults.leaves(base))
    asked = {path: v for path, v in shipped_defaults.leaves(_without_identity(job)) if not _is_off(path, v)}
    found += [
        Difference(".".join(path), shown(value), shown(usual[path]) if path in usual else "")
        for path, value in asked.items()
        if usual.get(path, _GONE) != value
    ]
    off = {path[:2] for path in usual if path[0] in _BY_NAME} - {path[:2] for path in asked}
    return found + [Difference(".".join(path), "off", "on") for path in sorted(off)]


def overrides(job: Mapping[str, Any]) -> list[str]:
    """What to write on a command line to ask for the same again."""
    words = [f"params.{name}={value(v)}" for name, v in section(job, "params").items()]
    choice = _choices(job)
    base = shipped_defaults.defaults(choice)
    words += [f"{group}={name}" for group, name in choice.items()]
    words += _named("callbacks", job, base)
    loggers = list(section(job, "logger"))
    if loggers != list(base.get("logger", {})) and set(loggers) <= set(shipped_defaults.choices("logger")):
        words.append(f"logger=[{','.join(loggers)}]" if loggers else "logger=none")
        for name in loggers:
            base = shipped_defaults.merged(base, shipped_defaults.block("logger", name))
    usual = dict(shipped_defaults.leaves(base))
    for path, setting in shipped_defaults.leaves(_without_identity(job)):
        if usual.get(path, _GONE) != setting and not _is_off(path, setting):
            words.append(f"{'' if path in usual else '++'}{'.'.join(path)}={value(setting)}")
    return words


def classes(job: Mapping[str, Any]) -> dict[str, str]:
    """The choice in each group whose files are one thing each: the usual one, if it fits."""
    found = {}
    for group in shipped_defaults.groups():
        section = job.get(group)
        if not isinstance(section, Mapping) or group in _BY_NAME:
            continue
        mark = "_target_" if "_target_" in section else "name"
        blocks = {
            choice: shipped_defaults.block(group, choice).get(group, {})
            for choice in shipped_defaults.choices(group)
        }
        fitting = [c for c, block in blocks.items() if mark in block and block[mark] == section.get(mark)]
        if fitting:
            usual = shipped_defaults.chosen().get(group, "")
            found[group] = usual if usual in fitting else fitting[0]
    return found


def told(job: Mapping[str, Any]) -> dict[str, Any]:
    """What tells a run from others: its choices, and every setting that is not simply part of one of them."""
    choice = classes(job)
    parts: dict[str, Any] = {}
    for group, name in choice.items():
        parts = shipped_defaults.merged(parts, shipped_defaults.block(group, name))
    part = dict(shipped_defaults.leaves(parts))
    asked = shipped_defaults.leaves(
        {name: node for name, node in job.items() if name not in _IDENTITY or name == "params"}
    )
    return {**choice, **{".".join(path): v for path, v in asked if part.get(path, _GONE) != v}}


def section(job: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """A part of the configuration; empty where it is none."""
    node = job.get(name)
    return node if isinstance(node, Mapping) else {}


def value(setting: Any) -> str:
    """A setting as Hydra reads it."""
    if setting is None:
        return "null"
    if isinstance(setting, bool):
        return str(setting).lower()
    if isinstance(setting, int | float):
        return repr(setting)
    if isinstance(setting, Mapping):
        return "{" + ",".join(f"{name}:{value(inner)}" for name, inner in setting.items()) + "}"
    if isinstance(setting, list | tuple):
        return "[" + ",".join(map(value, setting)) + "]"
    text = str(setting)
    if _PLAIN.fullmatch(text) and not _NUMBER.fullmatch(text) and text.lower() not in _RESERVED:
        return text
    escaped = text.replace("\\'", "\\\\'").replace("'", "\\'")
    return f"'{escaped}'"


def shown(setting: Any) -> str:
    """A setting as a person reads it."""
    return setting if isinstance(setting, str) else json.dumps(setting, ensure_ascii=False, default=str)


def _is_off(path: tuple[str, ...], setting: Any) -> bool:
    """Whether it is a callback or logger that was turned off by name."""
    return len(path) == 2 and path[0] in _BY_NAME and setting is None


def _without_identity(job: Mapping[str, Any]) -> dict[str, Any]:
    kept = {name: node for name, node in job.items() if name not in _IDENTITY}
    # Sweeps keep their members quiet; nobody asked for that.
    return {**kept, "log": {name: v for name, v in section(job, "log").items() if name != "terminal"}}


def _choices(job: Mapping[str, Any]) -> dict[str, str]:
    """The choice in each group that is another than the usual one, as far as the groups have it."""
    usual = shipped_defaults.chosen()
    return {**{group: c for group, c in classes(job).items() if usual.get(group) != c}, **_strategy(job)}


def _strategy(job: Mapping[str, Any]) -> dict[str, str]:
    lightning = job.get("lightning")
    asked = lightning.get("strategy") if isinstance(lightning, Mapping) else None
    for name in shipped_defaults.choices("strategy"):
        if (
            asked is not None
            and shipped_defaults.block("strategy", name).get("lightning", {}).get("strategy") == asked
        ):
            return {} if name == shipped_defaults.chosen().get("strategy") else {"strategy": name}
    return {}


def _more(group: str, job: Mapping[str, Any], base: Mapping[str, Any]) -> list[str]:
    """Members of a group that are on though they are not by themselves, as far as they are shipped."""
    usual, choices = section(base, group), shipped_defaults.choices(group)
    asked = (name for name, node in section(job, group).items() if node is not None)
    return [name for name in asked if name not in usual and name in choices]


def _named(group: str, job: Mapping[str, Any], base: dict[str, Any]) -> list[str]:
    """Members of a group that are on or off against the usual; those that are on join the base."""
    asked = section(job, group)
    words = [f"{group}.{name}=null" for name in section(base, group) if asked.get(name) is None]
    for name in _more(group, job, base):
        words.append(f"{group}.{name}=true")
        base[group] = {**base[group], **shipped_defaults.block(group, name)[group]}
    return words
