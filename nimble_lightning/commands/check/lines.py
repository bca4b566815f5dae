"""Where in the user's file something is: read from the source, or from a traceback."""

from __future__ import annotations

import ast
import importlib.util
import os
import re
from pathlib import Path

_FRAME = re.compile(r'  File "(?P<file>.+?)", line (?P<line>\d+), in (?P<function>\S+)')
_NOT_THEIRS = ("site-packages", f"nimble_lightning{os.sep}", "<frozen", f"lib{os.sep}python")


class Lines:
    """The lines of one trainer.

    Args:
        trainer: `/absolute/file.py:Class` or `package.module:Class`.
    """

    def __init__(self, trainer: str) -> None:
        place, _, name = trainer.rpartition(":")
        self.path = _file(place)
        tree = ast.parse(self.path.read_text(encoding="utf-8")) if self.path else ast.Module([], [])
        classes = [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef) and node.name == name]
        self._methods = {n.name: n for node in classes for n in node.body if isinstance(n, ast.FunctionDef)}

    @property
    def trains_by_itself(self) -> bool:
        """Whether `train` takes keywords only, as in the original SDK: it is called once and does all."""
        train = self._methods.get("train")
        if train is None:
            return False
        takes = train.args
        return len(takes.posonlyargs) + len(takes.args) < 2 and takes.vararg is None

    def of(self, method: str) -> str:
        """`my_trainer.py:12`, where a method begins; the file alone where that is not known."""
        node = self._methods.get(method)
        name = self.path.name if self.path else ""
        return name if node is None else f"{name}:{node.lineno}"


def theirs(traceback: str) -> list[tuple[str, str]]:
    """The user's own frames, outermost first: `my_trainer.py:12` and the function."""
    frames = [m for m in _FRAME.finditer(traceback) if not any(part in m["file"] for part in _NOT_THEIRS)]
    return [(f"{Path(m['file']).name}:{m['line']}", m["function"]) for m in frames]


def _file(place: str) -> Path | None:
    if place.endswith(".py"):
        return Path(place)
    spec = importlib.util.find_spec(place)
    return Path(spec.origin) if spec is not None and spec.origin else None
