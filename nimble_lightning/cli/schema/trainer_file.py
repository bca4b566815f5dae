"""What `trainer=` names: which file, what in it, and with which parameters. Nothing is imported."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path

from nimble_lightning.cli.schema.parameters import Signature, of_class, of_function, of_method
from nimble_lightning.cli.schema.source_code import SourceFile, dotted_name, locate, read
from nimble_lightning.cli.schema.trainer_methods import check_methods
from nimble_lightning.errors import RequestError
from nimble_lightning.runs.request.setting_effects import Trained

_BASES = {"trainer": "NimbleTrainer", "module": "LightningModule", "data": "LightningDataModule"}


@dataclass(frozen=True)
class TrainerTarget:
    """A trainer, model, data module or function, found.

    Attributes:
        kind: "trainer", "module", "data" or "function".
        reference: How any process finds it again: `/abs/file.py:Class` or `package.module:Class`.
        name: What a run of it is called.
        signature: Its parameters.
        source: Its file.
        node: Its definition.
    """

    kind: str
    reference: str
    name: str
    signature: Signature
    source: SourceFile
    node: ast.ClassDef | ast.FunctionDef

    def defines(self, method: str, *, if_unread: bool = True) -> bool:
        """Whether the user's own classes, those below Lightning's and ours, define a method.

        Args:
            method: Its name.
            if_unread: What is presumed of a class that cannot be read.
        """
        return isinstance(self.node, ast.ClassDef) and _defines(self.node, self.source, method, if_unread)

    def trained(self) -> Trained:
        """What its file tells of which settings it will obey."""
        if self.kind != "trainer" or not isinstance(self.node, ast.ClassDef):
            return Trained(self.node.name, "function" if self.kind == "function" else "module")
        train = _method_of(self.node, self.source, "train")
        own = self.defines("configure_optimizers", if_unread=False)
        if train is None or not _is_whole(train):
            return Trained(self.node.name, "steps", own)
        return Trained(self.node.name, "whole", own, returns=_returns(train))


def peek(spec: str, *, key: str = "trainer", cwd: Path | None = None) -> TrainerTarget:
    """Find what a `trainer=` (or, with `key`, a `datamodule=`) value names.

    Raises:
        RequestError: Nothing there, or several things and none was named.
    """
    where, name = _split(spec)
    path, place = _file(where, name, key, cwd or Path.cwd())
    source = read(path)
    kinds = ["data"] if key == "datamodule" else ["trainer", "module"]
    kind, node = _named(source, name, kinds, key, where) if name else _only_one(source, kinds, key, where)
    if isinstance(node, ast.ClassDef) and kind == "trainer":
        check_methods(node, source)
    reference = f"{place}:{node.name}"
    title = path.stem if place.endswith(".py") else node.name
    return TrainerTarget(kind, reference, title, _signature(kind, node, source), source, node)


def beside(target: TrainerTarget) -> TrainerTarget | None:
    """The LightningDataModule in the file of a LightningModule: the only one, or None."""
    candidates = _leaves(target.source, "data")
    if len(candidates) > 1:
        names = ", ".join(node.name for node in candidates)
        raise RequestError(
            f"{target.source.path.name} holds {len(candidates)} data modules: {names}\n"
            f"Say which: datamodule={target.reference.rpartition(':')[0]}:{candidates[0].name}"
        )
    if not candidates:
        return None
    node = candidates[0]
    place = target.reference.rpartition(":")[0]
    return TrainerTarget(
        "data", f"{place}:{node.name}", node.name, of_class(node, target.source), target.source, node
    )


def _split(spec: str) -> tuple[str, str]:
    """`path.py:Class`, `path.py::Class` and `module:Class` in two; a drive letter is not a separator."""
    match = re.fullmatch(r"(?P<where>.+?)(?:::?(?P<name>[A-Za-z_]\w*))?", spec.strip())
    return (match["where"], match["name"] or "") if match else (spec, "")


def _file(where: str, name: str, key: str, cwd: Path) -> tuple[Path, str]:
    """The file, and how it is referred to from anywhere."""
    path = (cwd / Path(where).expanduser()).resolve()
    if path.is_file():
        if path.suffix != ".py":
            raise RequestError(f"{key}={where} is not a Python file\nGive the .py file that holds the class")
        return path, str(path)
    if path.is_dir():
        files = sorted(entry.name for entry in path.glob("*.py"))
        example = f"{where.rstrip('/')}/{files[0]}" if files else "my_trainer.py"
        raise RequestError(f"{key}={where} is a folder\nGive a file: {key}={example}")
    if where.endswith(".py") or "/" in where:
        raise RequestError(_no_file(path, where, key, cwd))
    module = locate(where, near=cwd)
    if module is not None:
        return module, where
    package, _, last = where.rpartition(".")
    if not name and package and locate(package, near=cwd):
        raise RequestError(f"{key}={where} names no module\nA class in one is written {key}={package}:{last}")
    raise RequestError(_no_file(path, where, key, cwd) if not package else _no_module(where, key))


def _no_module(where: str, key: str) -> str:
    return (
        f"{key}={where}: no such module can be imported from here\n"
        "Is it installed, or did you mean a file ending in .py?"
    )


def _no_file(path: Path, where: str, key: str, cwd: Path) -> str:
    folder = path.parent
    if not folder.is_dir():
        return f"{key}={where}: there is no folder {folder}"
    names = [entry.name for entry in folder.glob("*.py")]
    near = get_close_matches(path.name, names, n=1, cutoff=0.6) or get_close_matches(
        path.name + ".py", names, n=1
    )
    if near:
        shown = folder / near[0]
        typed = shown.relative_to(cwd) if shown.is_relative_to(cwd) else shown
        return f"{key}={where}: no such file\nDid you mean {key}={typed}?"
    return f"{key}={where}: no such file in {folder}"


def _named(
    source: SourceFile, name: str, kinds: list[str], key: str, where: str
) -> tuple[str, ast.ClassDef | ast.FunctionDef]:
    found = source.find(name)
    if found is None or not isinstance(found[1], ast.ClassDef | ast.FunctionDef):
        defined = [*(c.name for c in source.classes()), *(f.name for f in source.functions())]
        names = [each for each in defined if not each.startswith("_")]
        near = get_close_matches(name, names, n=1, cutoff=0.5)
        hint = (
            f"did you mean {key}={where}:{near[0]}?"
            if near
            else f"it holds {', '.join(names) or 'nothing to train'}"
        )
        raise RequestError(f"{source.path.name} has no {name}; {hint}")
    node = found[1]
    if isinstance(node, ast.FunctionDef):
        return "function", node
    kind = next((k for k in kinds if _is_kind(node, found[0], k)), None)
    if kind is None:
        wanted = " or ".join(_BASES[k] for k in kinds)
        raise RequestError(
            f"{name} in {source.path.name} is no {wanted}\nIt needs that base class" + _or_methods(kinds)
        )
    return kind, node


def _only_one(
    source: SourceFile, kinds: list[str], key: str, where: str
) -> tuple[str, ast.ClassDef | ast.FunctionDef]:
    for kind in kinds:
        candidates = _leaves(source, kind)
        if len(candidates) == 1:
            return kind, candidates[0]
        if candidates:
            names = ", ".join(f"{node.name} (line {node.lineno})" for node in candidates)
            raise RequestError(
                f"{source.path.name} holds several that could be meant: {names}\n"
                f"Say which: {key}={where}:{candidates[0].name}"
            )
    likely = [node for node in source.classes() if any(_method(node, name) for name in ("train", "evaluate"))]
    for node in likely:
        check_methods(node, source)
    wanted = " or ".join(_BASES[k] for k in kinds)
    raise RequestError(
        f"{source.path.name} holds no {wanted}\n"
        f"Derive one class from it{_or_methods(kinds)}, or name a function: {key}={where}:function"
    )


def _or_methods(kinds: list[str]) -> str:
    return " or give it pre_process and train" if "trainer" in kinds else ""


def _leaves(source: SourceFile, kind: str) -> list[ast.ClassDef]:
    """The classes of a kind from which no other class of the file is derived."""
    found = [node for node in source.classes() if _is_kind(node, source, kind)]
    parents = {dotted_name(base) for node in found for base in node.bases}
    return [node for node in found if node.name not in parents]


def _is_kind(node: ast.ClassDef, source: SourceFile, kind: str, depth: int = 0) -> bool:
    if kind == "trainer" and _method(node, "pre_process") and _method(node, "train"):
        return True
    for base in node.bases:
        name = dotted_name(base.value if isinstance(base, ast.Subscript) else base)
        last = name.rpartition(".")[2]
        if last in _BASES.values():
            if last == _BASES[kind]:
                return True
            continue
        found = source.find(name) if name and depth < 8 else None
        if found and isinstance(found[1], ast.ClassDef) and _is_kind(found[1], found[0], kind, depth + 1):
            return True
    return False


def _method(node: ast.ClassDef, name: str) -> bool:
    return any(isinstance(child, ast.FunctionDef) and child.name == name for child in node.body)


def _defines(node: ast.ClassDef, source: SourceFile, method: str, if_unread: bool) -> bool:
    if _method(node, method):
        return True
    for base in node.bases:
        name = dotted_name(base.value if isinstance(base, ast.Subscript) else base)
        if name.rpartition(".")[2] in _BASES.values():
            continue
        found = source.find(name) if name else None
        if found is None or not isinstance(found[1], ast.ClassDef):
            if if_unread:
                return True
        elif _defines(found[1], found[0], method, if_unread):
            return True
    return False


def _method_of(node: ast.ClassDef, source: SourceFile, name: str) -> ast.FunctionDef | None:
    """A method where it is written, in the class or in one that it is derived from."""
    for child in node.body:
        if isinstance(child, ast.FunctionDef) and child.name == name:
            return child
    for base in node.bases:
        dotted = dotted_name(base.value if isinstance(base, ast.Subscript) else base)
        found = source.find(dotted) if dotted and dotted.rpartition(".")[2] not in _BASES.values() else None
        if found is not None and isinstance(found[1], ast.ClassDef):
            method = _method_of(found[1], found[0], name)
            if method is not None:
                return method
    return None


def _is_whole(train: ast.FunctionDef) -> bool:
    """Whether it takes keywords only, and no batch."""
    return len(train.args.posonlyargs) + len(train.args.args) <= 1


def _returns(function: ast.FunctionDef) -> bool:
    """Whether it may return something, whatever functions inside it return."""
    todo: list[ast.AST] = list(function.body)
    while todo:
        node = todo.pop()
        if isinstance(node, ast.Return) and not (
            node.value is None or isinstance(node.value, ast.Constant) and node.value.value is None
        ):
            return True
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda):
            todo += ast.iter_child_nodes(node)
    return False


def _signature(kind: str, node: ast.ClassDef | ast.FunctionDef, source: SourceFile) -> Signature:
    if isinstance(node, ast.FunctionDef):
        return of_function(node, source)
    if kind != "trainer":
        return of_class(node, source)
    found = of_method(node, source, "pre_process") or Signature("", source, {})
    # Of the class that was chosen, whichever it is derived from.
    return replace(found, owner=f"{node.name}.pre_process")
