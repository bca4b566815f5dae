"""Torchmetrics as Lightning wants it: two of its classes now, the rest when somebody asks for it.

Its package imports transformers and half of scipy, for metrics that few use. That is 40 % of the time that
importing Lightning takes, which itself has to know no more than what a metric is.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec, module_from_spec
from threading import RLock
from types import ModuleType
from typing import Any

NAME = "torchmetrics"
# In this order: what checks a metric takes the class from the module that imports the checks.
_NOW = {"utilities": None, "metric": "Metric", "collections": "MetricCollection"}


def postpone(wanted: Iterable[str] = ()) -> None:
    """Import what Lightning wants of torchmetrics; the first who asks for more has the whole of it imported.

    Args:
        wanted: Modules that are going to be imported; nothing is postponed if torchmetrics is among them.
    """
    if NAME in sys.modules or any(_within(name) for name in wanted):
        return
    try:
        package = sys.modules[NAME] = _unfilled()
        for module, name in _NOW.items():
            imported = import_module(f"{NAME}.{module}")
            if name is not None:
                setattr(package, name, getattr(imported, name))
    except Exception:
        # A release that is put together in another way is imported whole, as anywhere else.
        for name in filter(_within, list(sys.modules)):
            del sys.modules[name]


def _unfilled() -> ModuleType:
    """The package before its file has run, with what its modules, and Lightning's, look for in it."""
    spec = find_spec(NAME)
    if spec is None or spec.loader is None:
        raise ModuleNotFoundError(NAME)
    package, loader = module_from_spec(spec), spec.loader
    package.__dict__.update(__version__=version(NAME), _logger=logging.getLogger(NAME))
    filling, lock = False, RLock()

    def fill(name: str) -> Any:
        nonlocal filling
        with lock:
            if not filling and "__getattr__" in package.__dict__:
                filling = True
                try:
                    loader.exec_module(package)
                    del package.__dict__["__getattr__"]
                finally:
                    filling = False
        if name not in package.__dict__:
            raise AttributeError(f"module {NAME!r} has no attribute {name!r}")
        return package.__dict__[name]

    package.__dict__["__getattr__"] = fill
    return package


def _within(name: str) -> bool:
    return name.partition(".")[0] == NAME
