"""From `trainer=` to an object: a file or a module, holding a trainer, a LightningModule or a function that
returns both parts."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning as L

from nimble_lightning.errors import RequestError
from nimble_lightning.trainer import NimbleTrainer


def load(spec: str) -> Any:
    """The class or function that `path.py:Name`, `path.py`, `package.module:Name` or `package.module.Name`
    means."""
    place, _, name = spec.rpartition(":")
    if not place:
        place, name = (spec, "") if spec.endswith(".py") else _split_dotted(spec)
    module = _from_file(Path(place)) if place.endswith(".py") else importlib.import_module(place)
    if name:
        if not hasattr(module, name):
            raise RequestError(
                f"{place} has no {name}. It has: {', '.join(_candidates(module)) or 'no trainer class'}."
            )
        return getattr(module, name)
    found = _candidates(module)
    if len(found) != 1:
        raise RequestError(
            f"{place} holds {len(found)} trainers ({', '.join(found)}); say which: trainer={place}:NAME"
        )
    return found[next(iter(found))]


def parameters_for(target: Any, params: dict[str, Any]) -> dict[str, Any]:
    """Those of the parameters that a class or function takes."""
    accepted = inspect.signature(target).parameters
    if any(p.kind is p.VAR_KEYWORD for p in accepted.values()):
        return dict(params)
    return {k: v for k, v in params.items() if k in accepted}


def datamodule_beside(target: Any, named: str | None) -> Any:
    """The LightningDataModule class for a LightningModule: the named, or the only one in its file."""
    if named:
        return load(named)
    beside = sys.modules.get(target.__module__)
    own = [
        v
        for v in vars(beside).values()
        if inspect.isclass(v) and issubclass(v, L.LightningDataModule) and v.__module__ == target.__module__
    ]
    return own[0] if len(own) == 1 else None


def _split_dotted(spec: str) -> tuple[str, str]:
    if importlib.util.find_spec(spec.partition(".")[0]) is None:
        raise RequestError(
            f"trainer={spec} names neither a file nor an importable module. Give trainer=FILE.py or "
            "trainer=package.module:Class."
        )
    module, _, name = spec.rpartition(".")
    return (module, name) if name[:1].isupper() else (spec, "")


def _from_file(path: Path) -> types.ModuleType:
    path = path.resolve()
    if not path.is_file():
        raise RequestError(f"There is no file {path}.")
    name = path.stem if path.stem.isidentifier() else f"trainer_{abs(hash(str(path)))}"
    loaded = sys.modules.get(name)
    if loaded is not None and getattr(loaded, "__file__", None) == str(path):
        return loaded
    if loaded is not None or name in sys.stdlib_module_names:
        name = f"_nimble_trainer_{name}"
    module_spec = importlib.util.spec_from_file_location(name, path)
    if module_spec is None or module_spec.loader is None:
        raise RequestError(f"{path} is not a Python file.")
    module = importlib.util.module_from_spec(module_spec)
    # Registered, so that objects of its classes can be pickled, and its neighbours can be imported, as from a
    # script.
    sys.modules[name] = module
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))
    with original_sdk():
        module_spec.loader.exec_module(module)
    return module


@contextmanager
def original_sdk() -> Iterator[None]:
    """Let `from NimbleSDK import NimbleTrainer` mean our class while a user's file is loaded, unless the real
    one is there."""
    if "NimbleSDK" in sys.modules or importlib.util.find_spec("NimbleSDK") is not None:
        yield
        return
    stand_in = types.ModuleType("NimbleSDK")
    stand_in.NimbleTrainer = NimbleTrainer
    sys.modules["NimbleSDK"] = stand_in
    try:
        yield
    finally:
        del sys.modules["NimbleSDK"]


def _candidates(module: types.ModuleType) -> dict[str, Any]:
    own = {k: v for k, v in vars(module).items() if inspect.isclass(v) and v.__module__ == module.__name__}
    trainers = {
        k: v
        for k, v in own.items()
        if issubclass(v, NimbleTrainer) or (hasattr(v, "pre_process") and hasattr(v, "train"))
    }
    return trainers or {k: v for k, v in own.items() if issubclass(v, L.LightningModule)}
