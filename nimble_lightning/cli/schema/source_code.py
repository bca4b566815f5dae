"""Python files read, never imported: what a name in them stands for, across their imports."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from importlib.machinery import PathFinder
from importlib.util import find_spec
from pathlib import Path

from nimble_lightning.errors import UNREADABLE, RequestError

Definition = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef

# A chain of re-exports longer than this is a circle.
_DEPTH = 12


@dataclass(frozen=True)
class SourceFile:
    """One parsed file."""

    path: Path
    tree: ast.Module

    def statements(self) -> Iterator[ast.stmt]:
        """The statements of the module, those under `if` and `try` included."""
        todo: list[ast.stmt] = list(reversed(self.tree.body))
        while todo:
            node = todo.pop()
            yield node
            if isinstance(node, ast.If | ast.Try):
                inner = [*node.body, *node.orelse, *getattr(node, "finalbody", [])]
                for handler in getattr(node, "handlers", []):
                    inner.extend(handler.body)
                todo.extend(reversed(inner))

    def classes(self) -> list[ast.ClassDef]:
        return [node for node in self.statements() if isinstance(node, ast.ClassDef)]

    def functions(self) -> list[ast.FunctionDef]:
        return [node for node in self.statements() if isinstance(node, ast.FunctionDef)]

    def find(self, dotted: str, depth: int = 0) -> tuple[SourceFile, Definition | ast.expr] | None:
        """The class, function or assigned expression that `dotted` names here, wherever it is defined."""
        if depth > _DEPTH:
            return None
        name, _, rest = dotted.partition(".")
        for node in self.statements():
            if isinstance(node, Definition) and node.name == name and not rest:
                return self, node
            if isinstance(node, ast.Assign) and not rest and any(_is_name(t, name) for t in node.targets):
                return self, node.value
            if isinstance(node, ast.ImportFrom):
                found = self._find_imported_from(node, name, rest, depth)
            elif isinstance(node, ast.Import):
                found = self._find_imported(node, name, rest, depth)
            else:
                continue
            if found is not None:
                return found
        return None

    def _find_imported_from(
        self, node: ast.ImportFrom, name: str, rest: str, depth: int
    ) -> tuple[SourceFile, Definition | ast.expr] | None:
        for alias in node.names:
            if (alias.asname or alias.name) not in (name, "*"):
                continue
            folder = self.path.parents[node.level - 1] if node.level else None
            module = locate(node.module or "", near=self.path.parent, inside=folder)
            source = read(module) if module else None
            wanted = name if alias.name == "*" else alias.name
            found = source.find(".".join(filter(None, [wanted, rest])), depth + 1) if source else None
            if found is None and rest and module:
                below = locate(alias.name, inside=module.parent)
                found = read(below).find(rest, depth + 1) if below else None
            return found
        return None

    def _find_imported(
        self, node: ast.Import, name: str, rest: str, depth: int
    ) -> tuple[SourceFile, Definition | ast.expr] | None:
        for alias in node.names:
            if (alias.asname or alias.name.partition(".")[0]) == name and rest:
                return find_object(
                    f"{alias.name if alias.asname else name}.{rest}", self.path.parent, depth + 1
                )
        return None


@lru_cache(maxsize=256)
def read(path: Path) -> SourceFile:
    """Parse a file.

    Raises:
        RequestError: It cannot be read, or is not Python; it says where.
    """
    try:
        return SourceFile(path, ast.parse(path.read_bytes(), filename=str(path)))
    except UNREADABLE as error:
        raise RequestError.of_source(path, error) from None


def locate(module: str, *, near: Path | None = None, inside: Path | None = None) -> Path | None:
    """The file of a module, found without running any of it.

    Args:
        module: Dotted name; may be empty together with `inside`.
        near: A folder looked in before the import path, as Python does with a script's own.
        inside: The package folder that the name is relative to.
    """
    parts = [part for part in module.split(".") if part]
    if inside is not None:
        return _file_below(inside, parts)
    if not parts:
        return None
    spec = PathFinder.find_spec(parts[0], [str(near)]) if near is not None else None
    if spec is None or spec.origin is None:
        try:
            spec = find_spec(parts[0])
        except (ImportError, ValueError):
            return None
    if spec is None:
        return None
    for root in spec.submodule_search_locations or ():
        found = _file_below(Path(root), parts[1:])
        if found is not None:
            return found
    is_module = len(parts) == 1 and spec.origin is not None and spec.origin.endswith(".py")
    return Path(str(spec.origin)) if is_module else None


def find_object(
    dotted: str, near: Path | None = None, depth: int = 0
) -> tuple[SourceFile, Definition | ast.expr] | None:
    """What `package.module.Name` stands for, or None when that cannot be told from the files alone."""
    parts = dotted.split(".")
    for cut in range(len(parts) - 1, 0, -1):
        path = locate(".".join(parts[:cut]), near=near)
        if path is not None:
            return read(path).find(".".join(parts[cut:]), depth)
    return None


def dotted_name(node: ast.expr) -> str:
    """`a.b.C` of a name or attribute, "" of anything else."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        head = dotted_name(node.value)
        return f"{head}.{node.attr}" if head else ""
    return ""


def _is_name(node: ast.expr, name: str) -> bool:
    return isinstance(node, ast.Name) and node.id == name


def _file_below(folder: Path, parts: list[str]) -> Path | None:
    base = folder.joinpath(*parts)
    for candidate in (
        base / "__init__.py",
        base.with_name(base.name + ".py") if parts else base / "__init__.py",
    ):
        if candidate.is_file():
            return candidate
    return None
