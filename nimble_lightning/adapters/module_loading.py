"""A Python file as a module: importable for its neighbours and for pickle, and in nobody's way."""

from __future__ import annotations

import hashlib
import importlib.machinery
import importlib.util
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nimble_lightning.errors import RequestError
from nimble_lightning.trainer import NimbleTrainer


def from_file(path: Path) -> types.ModuleType:
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
        with original_sdk():
            spec.loader.exec_module(module)
    except BaseException as error:
        del sys.modules[name]
        if isinstance(error, SyntaxError) and Path(error.filename or "").is_file():
            raise RequestError.of_source(path, error) from error
        raise
    return module


@contextmanager
def original_sdk() -> Iterator[None]:
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
