"""From `trainer=` to an object: a trainer, a LightningModule or a function; and its file as a module."""

from __future__ import annotations

import hashlib
import importlib
import importlib.machinery
import importlib.util
import inspect
import sys
import types
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning as L

from nimble_lightning.adapters.lightning_alias import alias_lightning
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
    alias_lightning()
    module = _from_file(Path(place)) if place.endswith(".py") else _installed(place)
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
    if _origin(target).startswith("lightning.pytorch.core."):
        # Lightning's own base: that takes anything and uses nothing.
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


def _from_file(path: Path) -> types.ModuleType:
    """Import a file, once in a process; what it imports from its own folder is found as from a script."""
    path = path.resolve()
    if not path.is_file():
        raise RequestError(f"There is no file {path}.")
    name = _name_for(path)
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise RequestError(f"{path} is not a Python file.")
    module = importlib.util.module_from_spec(spec)
    # Registered, so that pickle and dataclasses find its classes.
    sys.modules[name] = module
    try:
        _let_import(path.parent)
        with _original_sdk():
            spec.loader.exec_module(module)
    except BaseException as error:
        del sys.modules[name]
        if isinstance(error, SyntaxError) and Path(error.filename or "").is_file():
            raise RequestError.of_source(path, error) from error
        raise
    return module


@contextmanager
def _original_sdk() -> Iterator[None]:
    """Let `from NimbleSDK import NimbleTrainer` mean our class while a user's file is loaded.

    Where the real NimbleSDK is installed, it is left alone.
    """
    if "NimbleSDK" in sys.modules or importlib.util.find_spec("NimbleSDK") is not None:
        yield
        return
    stand_in = types.ModuleType("NimbleSDK")
    vars(stand_in)["NimbleTrainer"] = NimbleTrainer
    sys.modules["NimbleSDK"] = stand_in
    try:
        yield
    finally:
        del sys.modules["NimbleSDK"]


def _name_for(path: Path) -> str:
    """The file's own name where that is free, as if it had been imported; else one that nothing else has."""
    loaded = sys.modules.get(path.stem)
    if loaded is not None and getattr(loaded, "__file__", None) == str(path):
        return path.stem
    if path.stem.isidentifier() and loaded is None and not _is_elsewhere(path):
        return path.stem
    return f"_nimble_{hashlib.sha256(str(path).encode()).hexdigest()[:12]}"


def _is_elsewhere(path: Path) -> bool:
    """Whether the name belongs to Python or to something installed: `torch.py` must not become `torch`."""
    if path.stem in sys.stdlib_module_names or path.stem in sys.builtin_module_names:
        return True
    others = [entry for entry in sys.path if Path(entry or ".").resolve() != path.parent]
    return importlib.machinery.PathFinder.find_spec(path.stem, others) is not None


def _let_import(folder: Path) -> None:
    """Let a user's file import its neighbours, as a script can.

    They come before anything installed, unless one has the name of a module that is in use.
    """
    if str(folder) in sys.path:
        return
    names = {path.stem for path in folder.glob("*.py")} | {
        path.parent.name for path in folder.glob("*/__init__.py")
    }
    in_the_way = names & (sys.stdlib_module_names | sys.modules.keys())
    sys.path.insert(len(sys.path) if in_the_way else 0, str(folder))
