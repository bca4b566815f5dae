"""Callbacks and loggers by name: blocks of settings, each with its `_target_`, and the packages some need."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from importlib.util import find_spec
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict

from nimble_lightning.errors import RequestError
from nimble_lightning.export.formats import ExportFormat
from nimble_lightning.report import shipped_defaults
from nimble_lightning.settings import RunSettings

# Groups of which several members are on at once.
GROUPS = ("callbacks", "logger")


# Logger -> the extra, and the packages of which one will do.
_LOGGERS = {
    "lightning.pytorch.loggers.TensorBoardLogger": ("tensorboard", ("tensorboard", "tensorboardX")),
    "lightning.pytorch.loggers.WandbLogger": ("wandb", ("wandb",)),
    "lightning.pytorch.loggers.MLFlowLogger": ("mlflow", ("mlflow",)),
    "nimble_lightning.loggers.TrackioLogger": ("trackio", ("trackio",)),
}


def blocks(group: Any) -> list[Any]:
    """The blocks of a group: one, several by name, or a list; those set to null are off."""
    if not group:
        return []
    if isinstance(group, Mapping):
        return [group] if "_target_" in group else [block for block in group.values() if block]
    return [block for block in group if block]


def complete_blocks(config: DictConfig) -> None:
    """Give members that are named, just by true or with some of their settings, the rest of their block.

    Raises:
        RequestError: One would come to nothing. It names the nearest that there is, or says how one's own is
            added.
    """
    for group in GROUPS:
        members = config.get(group)
        if not isinstance(members, DictConfig) or "_target_" in members:
            continue
        with open_dict(members):
            for name in map(str, list(members)):
                members[name] = _whole(group, name, members[name])


def _whole(group: str, name: str, given: Any) -> Any:
    if given is None or given is False:
        return None
    if isinstance(given, DictConfig) and "_target_" in given:
        return given
    ours = (
        shipped_defaults.block(group, name)[group].get(name)
        if name in shipped_defaults.choices(group)
        else None
    )
    if ours is None:
        raise RequestError(no_member(group, name, shipped_defaults.choices(group)))
    if given is not True and not isinstance(given, DictConfig):
        raise RequestError(
            f"{group}.{name}={given}: expected true, null or settings, as in {group}.{name}.NAME=VALUE"
        )
    return OmegaConf.merge(ours, {} if given is True else given)


def no_member(group: str, name: str, known: Iterable[str]) -> str:
    """What to say about a callback or logger that does not exist."""
    names = sorted({*known} - {"default", "none"})
    near = get_close_matches(name.lower(), names, n=1)
    if near:
        return f"There is no {group}.{name}; did you mean {group}.{near[0]}?"
    return (
        f"There is no {group}.{name}; there are {', '.join(names)}\n"
        f"One of your own says what it is: +{group}.{name}._target_=package.Class"
    )


def check_packages(asked: RunSettings) -> None:
    """Refuse a run that would end for want of a package.

    Raises:
        RequestError: It says which, and what installs it.
    """
    for block in blocks(asked.logger):
        target = block.get("_target_") if isinstance(block, Mapping) else None
        extra, packages = _LOGGERS.get(str(target), ("", ()))
        if extra and not any(map(find_spec, packages)):
            raise RequestError(_missing(f"logger={extra}", packages[:1], extra))
    for kind in map(ExportFormat, asked.export or ()):
        if kind.missing:
            raise RequestError(_missing(f"export=[{kind}]", kind.missing, kind.extra))


def _missing(setting: str, packages: Iterable[str], extra: str) -> str:
    names = ", ".join(packages)
    return f'{setting} needs {names}, not installed here\nType: pip install "nimble-lightning[{extra}]"'
