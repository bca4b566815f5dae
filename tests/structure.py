"""How the package is laid out, in figures: `python -m tests.structure` (`-v` names what is counted).

Counted from the sources of this checkout alone. What is a circle and which room lies above which is decided
where it is tested; the words that make a bad name are listed here.
"""

from __future__ import annotations

import ast
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from tests.contract.test_import_circles import PACKAGE, arrows_of, circles
from tests.contract.test_imports import ENTRIES, LAYERS

# Words in -ing that are nouns of the field, not somebody doing something.
NOUNS = {"packing", "rendering", "ring", "setting", "string", "training", "warning"}
# Words for one thing by the name of another: a reader has to be told what is meant.
IMAGES = {
    *("acts", "aside", "books", "boundary", "canary", "company", "deaf", "late", "leftovers", "meeting"),
    *("meter", "patience", "place", "pulse", "remains", "seat", "sliver", "standing", "stretch", "talk"),
    *("tape", "thin", "together", "whole"),
}
# Every package has these.
EXPECTED_TWICE = {"__init__", "__main__", "command"}
# What holds settings is called so; the rooms that turn what was typed into typed settings may look into it.
SETTINGS = {"config", "settings", "cfg"}
DOOR = ("settings", "cli")


class Row(NamedTuple):
    """A measure, how much of it there is, how much there may be, and what is counted."""

    measure: str
    found: str
    target: str
    what: list[str]


def modules() -> dict[str, Path]:
    return {str(path.relative_to(PACKAGE).with_suffix("")): path for path in sorted(PACKAGE.rglob("*.py"))}


def lines_of(path: Path) -> int:
    return len(path.read_text().splitlines())


def arrows_up() -> list[str]:
    return [
        f"{module} -> {target}"
        for module, targets in sorted(arrows_of(PACKAGE).items())
        for target in sorted(targets)
        if is_up(module.split(".")[0], target.split(".")[0])
    ]


def is_up(room: str, other: str) -> bool:
    if room in ENTRIES or other in ENTRIES or not room:
        return False
    return LAYERS.get(other, -1) > LAYERS.get(room, -1)


def shares_of_rooms() -> Counter[str]:
    """The lines of each folder below the package, with all its sub-folders."""
    rooms: Counter[str] = Counter()
    for name, path in modules().items():
        rooms[name.split("/")[0] if "/" in name else "(ground)"] += lines_of(path)
    return rooms


def files_in_folders() -> Counter[str]:
    return Counter(name.rpartition("/")[0] or "(ground)" for name in modules())


def bad_names() -> list[str]:
    return [name for name in modules() if is_bad(name.rpartition("/")[2].strip("_"))]


def is_bad(stem: str) -> bool:
    """A bare gerund, or an image."""
    return stem in IMAGES or ("_" not in stem and stem.endswith("ing") and stem not in NOUNS)


def repeated_basenames() -> list[str]:
    counted = Counter(name.rpartition("/")[2] for name in modules())
    return [f"{name} x{n}" for name, n in sorted(counted.items()) if n > 1 and name not in EXPECTED_TWICE]


def repeated_classes() -> list[str]:
    counted = Counter(
        node.name
        for path in modules().values()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    )
    return [f"{name} x{n}" for name, n in sorted(counted.items()) if n > 1]


def looked_up() -> list[str]:
    """Settings looked up by a word, as in `config["lr"]`, behind the door where they are typed."""
    return [
        f"{name}:{node.lineno} {ast.unparse(node)}"
        for name, path in modules().items()
        if name.split("/")[0] not in DOOR
        for node in look_ups(ast.parse(path.read_text()))
    ]


def look_ups(tree: ast.AST) -> Iterator[ast.Subscript | ast.Call]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Subscript | ast.Call) and is_look_up(node):
            yield node


def is_look_up(node: ast.Subscript | ast.Call) -> bool:
    if isinstance(node, ast.Call):
        return is_get(node.func)
    return is_text(node.slice) and holds_settings(node.value)


def is_get(function: ast.expr) -> bool:
    return isinstance(function, ast.Attribute) and function.attr == "get" and holds_settings(function.value)


def is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def holds_settings(node: ast.expr) -> bool:
    """Whether it is called as settings are, or is a part of them: `(config.get("x") or {})`."""
    if isinstance(node, ast.BoolOp):
        return any(holds_settings(value) for value in node.values)
    if isinstance(node, ast.Call) and is_get(node.func):
        return True
    name = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
    return name in SETTINGS


def most(counted: Counter[str], number: int = 5) -> list[str]:
    return [f"{name} {n}" for name, n in counted.most_common(number)]


def table() -> Iterator[Row]:
    rooms, folders = shares_of_rooms(), files_in_folders()
    lines = rooms.total()
    found = circles(arrows_of(PACKAGE))
    yield counted("circles of imports", [" ".join(sorted(circle)) for circle in found], "0")
    yield counted("arrows that run back up", arrows_up(), "0")
    yield Row("largest room", f"{rooms.most_common(1)[0][1] / lines:.1%}", "<= 8 %", most(rooms))
    yield Row("most files in a folder", str(folders.most_common(1)[0][1]), "<= 25", most(folders))
    yield counted("bare gerunds and images as file names", bad_names(), "0")
    yield counted("file names that occur more than once", repeated_basenames(), "<= 8")
    yield counted("class names that occur more than once", repeated_classes(), "<= 5")
    yield counted("settings looked up by a word", looked_up(), "0")
    yield Row("lines", str(lines), "<= 37000", [])
    yield Row("files", str(len(modules())), "<= 330", [])


def counted(measure: str, found: Iterable[str], target: str) -> Row:
    listed = list(found)
    return Row(measure, str(len(listed)), target, listed)


def main(*words: str) -> None:
    for row in table():
        print(f"{row.measure:<40}{row.found:>8}  ({row.target})")
        for line in row.what if "-v" in words else ():
            print(f"    {line}")


if __name__ == "__main__":
    main(*sys.argv[1:])
