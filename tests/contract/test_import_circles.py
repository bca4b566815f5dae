"""No circles of imports: a module never comes back to itself, however late it imports what."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "nimble_lightning"

Arrows = dict[str, set[str]]


def module_of(path: Path, package: Path) -> str:
    parts = path.relative_to(package).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(path: Path) -> Iterator[tuple[str, str]]:
    """What a file imports, as (module, name), wherever in the file it does."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((str(node.module), alias.name) for alias in node.names)


def arrows_of(package: Path) -> Arrows:
    """Each module and those it imports: lazily, or for the type checker alone, counts too."""
    files = {module_of(path, package): path for path in package.rglob("*.py")}
    full = {f"{package.name}.{module}": module for module in files}
    arrows: Arrows = {}
    for module, path in files.items():
        targets = (full.get(f"{home}.{name}", full.get(home)) for home, name in imported(path))
        arrows[module] = {target for target in targets if target and target != module}
    return arrows


def reached(arrows: Arrows, start: str) -> set[str]:
    found: set[str] = set()
    waiting = [start]
    while waiting:
        for target in arrows[waiting.pop()] - found:
            found.add(target)
            waiting.append(target)
    return found


def circles(arrows: Arrows) -> list[set[str]]:
    """The largest sets of modules each of which reaches all the others."""
    reach = {module: reached(arrows, module) for module in arrows}
    sets = {
        frozenset(other for other in reach[module] if module in reach[other])
        for module in arrows
        if module in reach[module]
    }
    return [set(circle) for circle in sets]


def test_no_module_comes_back_to_itself() -> None:
    found = circles(arrows_of(PACKAGE))
    assert not found, f"these import each other in a circle: {[sorted(circle) for circle in found]}"


def test_a_circle_is_found_through_late_imports_and_those_for_types_alone(tmp_path: Path) -> None:
    package = tmp_path / "house"
    (package / "room").mkdir(parents=True)
    (package / "room" / "__init__.py").write_text("")
    (package / "room" / "door.py").write_text("def f():\n    from house import hall\n    return hall\n")
    (package / "hall.py").write_text(
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from house.room.door import f\n"
    )
    (package / "attic.py").write_text("import house.room.door\n")
    assert circles(arrows_of(package)) == [{"room.door", "hall"}]
