"""The parameters of functions and classes, from source: names, types, defaults, what they are for."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from nimble_lightning.cli.schema.source_code import Definition, SourceFile, dotted_name, find_object
from nimble_lightning.errors import RequestError
from nimble_lightning.sweeps.search_space import Space, read_space


@dataclass(frozen=True)
class Parameter:
    """One parameter as it is written."""

    name: str
    annotation: ast.expr | None
    default: ast.expr | None
    line: int
    doc: str = ""
    space: Space | None = None

    @property
    def required(self) -> bool:
        return self.default is None

    @property
    def text(self) -> str:
        """`lr: float = 0.001`, as in the source."""
        kind = f": {self._type()}" if self.annotation else ""
        equals = " = " if self.annotation else "="
        return f"{self.name}{kind}{equals + ast.unparse(self.default) if self.default else ''}"

    def _type(self) -> str:
        if isinstance(self.annotation, ast.Constant) and isinstance(self.annotation.value, str):
            return self.annotation.value
        return ast.unparse(self.annotation) if self.annotation else ""

    def value(self) -> Any:
        """The default as a value; `ValueError` when only running the file could tell."""
        if self.default is None:
            raise ValueError(f"{self.name} has no default")
        return ast.literal_eval(self.default)


@dataclass(frozen=True)
class Signature:
    """Parameters that can be given by name.

    Attributes:
        owner: What they belong to, for messages: `MyTrainer.pre_process`.
        source: The file, which is also where names in annotations are looked up.
        open: Whether any other name is accepted too (`**kwargs`, or a base class that cannot be read).
    """

    owner: str
    source: SourceFile
    parameters: Mapping[str, Parameter]
    open: bool = False

    def where(self, name: str) -> str:
        return f"{self.source.path.name}:{self.parameters[name].line}"


def of_function(
    node: ast.FunctionDef | ast.AsyncFunctionDef, source: SourceFile, owner: str = ""
) -> Signature:
    """The signature of a function or, without its `self`, of a method."""
    arguments = node.args
    positional = [*arguments.posonlyargs, *arguments.args]
    padding: list[ast.expr | None] = [None] * (len(positional) - len(arguments.defaults))
    pairs = [*zip(positional, padding + list(arguments.defaults), strict=True)]
    if pairs and pairs[0][0].arg in ("self", "cls"):
        pairs = pairs[1:]
    pairs += zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    docs = _documented(ast.get_docstring(node) or "")
    parameters = {arg.arg: _parameter(arg, default, docs.get(arg.arg, "")) for arg, default in pairs}
    return Signature(owner or node.name, source, parameters, open=arguments.kwarg is not None)


def of_class(node: ast.ClassDef, source: SourceFile) -> Signature:
    """What a class is constructed with, its base classes considered."""
    found = of_method(node, source, "__init__")
    if found is not None:
        docs = _documented(ast.get_docstring(node) or "")
        described = {
            name: replace(p, doc=p.doc or docs.get(name, "")) for name, p in found.parameters.items()
        }
        return replace(found, owner=node.name, parameters=described)
    return Signature(node.name, source, {})


def of_method(node: ast.ClassDef, source: SourceFile, method: str) -> Signature | None:
    """The signature of a method, its own or inherited; None when no class has it.

    A base class that cannot be read might define anything: it counts as having the method, and any parameter.
    """
    for child in node.body:
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef) and child.name == method:
            return of_function(child, source, f"{node.name}.{method}")
    if method == "__init__" and any("dataclass" in ast.unparse(item) for item in node.decorator_list):
        return _of_dataclass(node, source)
    for base in node.bases:
        name = dotted_name(base.value if isinstance(base, ast.Subscript) else base)
        if name in ("object", "ABC", "abc.ABC", "Protocol", "Generic", "Enum"):
            continue
        # They let anything through to their own bases, which have no use for it.
        if method == "__init__" and name.endswith(("LightningModule", "LightningDataModule")):
            continue
        found = source.find(name) if name else None
        if found is None or not isinstance(found[1], ast.ClassDef):
            return Signature(f"{node.name}.{method}", source, {}, open=True)
        inherited = of_method(found[1], found[0], method)
        if inherited is not None:
            return inherited
    return None


def of_target(dotted: str) -> Signature | None:
    """The signature of what a `_target_` names, or None when the files alone do not tell."""
    try:
        found = find_object(dotted)
    except RequestError:
        return None
    return of_definition(*found) if found is not None else None


def of_definition(source: SourceFile, node: Definition | ast.expr) -> Signature | None:
    """The signature of a class or function; None of anything else."""
    if isinstance(node, ast.ClassDef):
        return of_class(node, source)
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return of_function(node, source)
    return None


def from_text(fields: Mapping[str, str], owner: str) -> Signature:
    """A signature from a table of name to type."""
    parameters = {
        name: Parameter(name, ast.parse(kind, mode="eval").body, None, 0) for name, kind in fields.items()
    }
    return Signature(owner, SourceFile(Path(owner), ast.Module([], [])), parameters)


def _parameter(arg: ast.arg, default: ast.expr | None, doc: str) -> Parameter:
    """A parameter; `param(...)` around its default says where to search for a better one."""
    if not isinstance(default, ast.Call) or not default.args:
        return Parameter(arg.arg, arg.annotation, default, arg.lineno, doc)
    if dotted_name(default.func).rpartition(".")[2] != "param":
        return Parameter(arg.arg, arg.annotation, default, arg.lineno, doc)
    space = read_space(arg.arg, {k.arg: k.value for k in default.keywords if k.arg}, arg.annotation)
    return Parameter(arg.arg, arg.annotation, default.args[0], arg.lineno, doc or space.text, space)


def _of_dataclass(node: ast.ClassDef, source: SourceFile) -> Signature:
    fields = {}
    for child in node.body:
        if isinstance(child, ast.AnnAssign) and isinstance(child.target, ast.Name):
            name = child.target.id
            fields[name] = Parameter(name, child.annotation, child.value, child.lineno)
    return Signature(node.name, source, fields)


def _documented(docstring: str) -> dict[str, str]:
    """First lines of `name: text` and `name (type): text` entries."""
    entries = re.findall(r"^[ \t]+(\w+)(?: *\([^)]*\))?:[ \t]+(\S.*)$", docstring, flags=re.MULTILINE)
    return {name: text.strip() for name, text in entries}
