"""From `trainer=` to an object: a trainer, a LightningModule or a function that returns module and data."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning as L

from nimble_lightning.adapters.module_loading import from_file
from nimble_lightning.errors import RequestError
from nimble_lightning.trainer import NimbleTrainer

_METHODS = ("pre_process", "train")


def load(spec: str) -> Any:
    """The class or function that a spec means.

    Args:
        spec: `path.py`, `path.py:Name`, `package.module`, `package.module:Name` or `package.module.Name`.
    """
    place, _, name = spec.rpartition(":")
    if not place:
        place, name = (spec, "") if spec.endswith(".py") else _split_dotted(spec)
    module = from_file(Path(place)) if place.endswith(".py") else _installed(place)
    found = _candidates(module)
    if name:
        if not hasattr(module, name):
            raise RequestError(f"{place} has no {name}. It has: {', '.join(found) or 'no trainer class'}.")
        return getattr(module, name)
    if not found:
        raise RequestError(
            f"{place} holds no trainer: no class with {' and '.join(_METHODS)}, and no LightningModule."
        )
    if len(found) > 1:
        names = ", ".join(found)
        raise RequestError(f"{place} holds {len(found)} trainers ({names}); say which: trainer={place}:NAME")
    return found[next(iter(found))]


def parameters_for(target: Any, params: dict[str, Any]) -> dict[str, Any]:
    """Those of the parameters that a class or function takes."""
    accepted = _takes(target)
    if any(p.kind is p.VAR_KEYWORD for p in accepted.values()):
        return dict(params)
    return {k: v for k, v in params.items() if k in accepted}


def require_known(params: dict[str, Any], *targets: Any) -> None:
    """Refuse a parameter that none of the classes and functions takes."""
    unknown = [name for name in params if not any(parameters_for(target, {name: None}) for target in targets)]
    if unknown:
        names = ", ".join(target.__name__ for target in targets)
        raise RequestError(f"{names}: no parameter {unknown[0]!r}. {_known(targets)}")


def _known(targets: tuple[Any, ...]) -> str:
    known = [name for target in targets for name in _takes(target)]
    return f"There are: {', '.join(known)}." if known else "There are none."


def datamodule_beside(target: Any, named: str | None) -> Any:
    """The LightningDataModule class for a LightningModule: the named, or the only one in its file."""
    if named:
        found = load(named)
        if not (inspect.isclass(found) and issubclass(found, L.LightningDataModule)):
            raise RequestError(f"datamodule={named} is no LightningDataModule.")
        return found
    beside = sys.modules.get(target.__module__)
    own = _leaves(beside, L.LightningDataModule)
    return own[next(iter(own))] if len(own) == 1 else None


def _takes(target: Any) -> Mapping[str, inspect.Parameter]:
    if _origin(target).startswith("lightning."):
        # Its own base's: that takes anything and uses nothing.
        return {}
    return inspect.signature(target).parameters


def _origin(target: Any) -> str:
    """The module whose `__init__` a class has; "" for a function."""
    classes = inspect.getmro(target) if inspect.isclass(target) else ()
    return next((c.__module__ for c in classes if "__init__" in vars(c)), "")


def _installed(module: str) -> Any:
    try:
        known = importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        known = False
    if not known:
        raise RequestError(
            f"{module} names neither a file nor an importable module. Give trainer=FILE.py or "
            "trainer=package.module:Class."
        )
    return importlib.import_module(module)


def _split_dotted(spec: str) -> tuple[str, str]:
    module, _, name = spec.rpartition(".")
    return (module, name) if name[:1].isupper() else (spec, "")


def _candidates(module: Any) -> dict[str, Any]:
    """The trainers a module defines itself; only where there is none, its LightningModules."""
    trainers = {
        name: value
        for name, value in _leaves(module, object).items()
        if issubclass(value, NimbleTrainer) or all(hasattr(value, method) for method in _METHODS)
    }
    return trainers or _leaves(module, L.LightningModule)


def _leaves(module: Any, base: type) -> dict[str, Any]:
    """A module's own classes of a kind, less those it derives others from; private ones are helpers."""
    own = [v for v in vars(module).values() if inspect.isclass(v) and v.__module__ == module.__name__]
    parents = {parent for value in own for parent in value.__mro__[1:]}
    leaves = [value for value in own if issubclass(value, base) and value not in parents]
    return {value.__name__: value for value in leaves if not value.__name__.startswith("_")}
