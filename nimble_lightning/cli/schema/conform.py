"""Whether a value given on the command line fits a type written in a source file."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import Any

from nimble_lightning.cli.schema.scalars import SCALARS, Mismatch
from nimble_lightning.cli.schema.source_code import SourceFile, dotted_name

_ANYTHING = {"Any", "object", "Callable", "Type", "type"}
_LISTS = {"list", "List", "Sequence", "MutableSequence", "Iterable", "Collection", "set", "Set", "frozenset"}
_TUPLES = {"tuple", "Tuple"}
_DICTS = {"dict", "Dict", "Mapping", "MutableMapping"}


def conform(value: Any, annotation: ast.expr | str | None, source: SourceFile | None = None) -> Any:
    """The value as its type wants it: `1e-3` given as text becomes a float, 1 for a float becomes 1.0.

    What a type means beyond that is not judged: an annotation nobody here knows accepts everything.

    Raises:
        Mismatch: The value cannot be of that type.
    """
    if isinstance(annotation, str):
        annotation = _parsed(annotation)
    if annotation is None or (isinstance(value, Mapping) and "_target_" in value):
        return value
    if isinstance(annotation, ast.Constant):
        if isinstance(annotation.value, str):
            return conform(value, annotation.value, source)
        return _only(value, [None]) if annotation.value is None else value
    if isinstance(annotation, ast.BinOp):
        return _union(value, _members(annotation), annotation, source)
    if isinstance(annotation, ast.Subscript):
        return _subscript(value, annotation, source)
    name = dotted_name(annotation).rpartition(".")[2]
    if name in SCALARS:
        return SCALARS[name](value)
    return _plain(value, name, annotation, source)


def like(value: Any, default: ast.expr | None) -> Any:
    """The value, if it is of the kind of an untyped parameter's default; any number does for a number."""
    try:
        example = ast.literal_eval(default) if default is not None else None
    except (ValueError, SyntaxError):
        return value
    if value is None or example is None:
        return value
    if isinstance(example, bool):
        return conform(value, "bool")
    if isinstance(example, int | float):
        return conform(value, "int | float")
    if isinstance(example, str):
        return conform(value, "str")
    if isinstance(example, dict):
        return conform(value, "dict")
    return conform(value, "list") if isinstance(example, list | tuple) else value


def _parsed(text: str) -> ast.expr | None:
    try:
        return ast.parse(text, mode="eval").body
    except SyntaxError:
        return None


def _plain(value: Any, name: str, annotation: ast.expr, source: SourceFile | None) -> Any:
    """A type without brackets that is not a scalar: a bare container, or a name defined in some file."""
    if name in _LISTS | _TUPLES:
        return _sequence(value, None, source)
    if name in _DICTS:
        return _mapping(value, None, source)
    if name in _ANYTHING or source is None:
        return value
    found = source.find(dotted_name(annotation))
    if found is None:
        return value
    where, node = found
    if isinstance(node, ast.ClassDef):
        return _member(value, node)
    # An alias of a type looks like a type; any other expression is not ours to judge.
    is_type = isinstance(node, ast.Subscript | ast.BinOp | ast.Name | ast.Attribute)
    return conform(value, node, where) if is_type and isinstance(node, ast.expr) else value


def _subscript(value: Any, annotation: ast.Subscript, source: SourceFile | None) -> Any:
    name = dotted_name(annotation.value).rpartition(".")[2]
    inner = annotation.slice.elts if isinstance(annotation.slice, ast.Tuple) else [annotation.slice]
    if name == "Literal":
        return _only(value, [_constant(item) for item in inner])
    if name == "Optional":
        return _union(value, [*inner, ast.Constant(None)], annotation, source)
    if name == "Union":
        return _union(value, inner, annotation, source)
    if name in ("Annotated", "Final", "Required", "NotRequired"):
        return conform(value, inner[0], source)
    if name in _LISTS:
        return _sequence(value, inner[0], source)
    if name in _TUPLES:
        return _tuple(value, inner, source)
    if name in _DICTS:
        return _mapping(value, inner[1] if len(inner) == 2 else None, source)
    return value


def _union(value: Any, members: list[ast.expr], whole: ast.expr, source: SourceFile | None) -> Any:
    expected: list[str] = []
    choices: list[Any] = []
    # A value that already has one of the types stays as it is: 1 for `float | int` is not made 1.0.
    exact = [m for m in members if dotted_name(m) == type(value).__name__]
    for member in exact + members:
        try:
            return conform(value, member, source)
        except Mismatch as mismatch:
            choices += mismatch.choices
            if not mismatch.choices and mismatch.expected not in expected:
                expected.append(mismatch.expected)
    named = [choice for choice in choices if choice is not None]
    one_of = (
        [f"one of {', '.join(map(repr, named))}"] if len(named) > 1 else [repr(choice) for choice in named]
    )
    raise Mismatch(" or ".join([*expected, *one_of, *["null"] * (None in choices)]), choices)


def _members(annotation: ast.expr) -> list[ast.expr]:
    if isinstance(annotation, ast.BinOp):
        return [*_members(annotation.left), *_members(annotation.right)]
    return [annotation]


def _only(value: Any, choices: list[Any]) -> Any:
    for choice in choices:
        if value == choice and type(value) is type(choice):
            return choice
    # Hydra reads `bits=16` as a number even where the choice is the text "16", and the other way round.
    for choice in choices:
        if not isinstance(value, bool) and value is not None and str(value) == str(choice):
            return choice
    shown = ["null" if choice is None else repr(choice) for choice in choices]
    raise Mismatch(shown[0] if len(shown) == 1 else f"one of {', '.join(shown)}", choices)


def _member(value: Any, node: ast.ClassDef) -> Any:
    """A member of an Enum by name or value; any other class accepts everything."""
    bases = {dotted_name(base).rpartition(".")[2] for base in node.bases}
    if not bases & {"Enum", "StrEnum", "IntEnum", "Flag", "IntFlag"}:
        return value
    members = {
        target.id: _constant(child.value)
        for child in node.body
        if isinstance(child, ast.Assign)
        for target in child.targets
        if isinstance(target, ast.Name) and not target.id.startswith("_")
    }
    if value in members or value in members.values():
        return value
    raise Mismatch(f"one of {', '.join(members)}", [*members, *members.values()])


def _sequence(value: Any, item: ast.expr | None, source: SourceFile | None) -> list[Any]:
    if not isinstance(value, list | tuple):
        raise Mismatch("a list, written [a,b]")
    return [conform(element, item, source) for element in value]


def _tuple(value: Any, items: list[ast.expr], source: SourceFile | None) -> list[Any]:
    if len(items) == 2 and isinstance(items[1], ast.Constant) and items[1].value is ...:
        return _sequence(value, items[0], source)
    if not isinstance(value, list | tuple) or len(value) != len(items):
        raise Mismatch(f"a list of {len(items)}, written [a,b]")
    return [conform(element, item, source) for element, item in zip(value, items, strict=True)]


def _mapping(value: Any, item: ast.expr | None, source: SourceFile | None) -> dict[Any, Any]:
    if not isinstance(value, Mapping):
        raise Mismatch("a mapping, written {a:1,b:2}")
    return {key: conform(element, item, source) for key, element in value.items()}


def _constant(node: ast.expr) -> Any:
    try:
        return ast.literal_eval(node)
    except (ValueError, SyntaxError):
        return ast.unparse(node)
