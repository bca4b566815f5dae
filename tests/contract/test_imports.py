"""Who may import whom, and what an import may do."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2] / "nimble_lightning"
MODULES = sorted(ROOT.rglob("*.py"))

# The house, from the ground up: a room imports itself, rooms below it and rooms of its own floor.
FLOORS = (
    ("trainer", "settings", "run_folder", "errors", "ranks", "_lazy", "_version"),
    ("ops", "gpu", "terminal", "data", "loggers", "optim"),
    ("usage", "notifications", "checkpoint"),
    ("planning", "report", "proof", "adapters"),
    ("llm", "validators", "export"),
    ("callbacks", "runs"),
    ("worker",),
    ("supervision", "replay"),
    ("launch",),
    ("api", "sweeps"),
    ("cli",),
    ("convert",),
    ("commands",),
)
LAYERS = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
# Entry points: they start the command line or lazily name what is public. `runtime` holds the names of old.
ENTRIES = {"__main__", "__init__", "testing", "runtime"}


def part_of(path: Path) -> str:
    return path.relative_to(ROOT).with_suffix("").parts[0]


def imports_of(path: Path, *, at_import: bool = False) -> set[str]:
    """The modules a file names in import statements; only those run by importing it, if asked."""
    found: set[str] = set()
    tree = ast.parse(path.read_text())
    for node in tree.body if at_import else ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are written in full"
            found |= {str(node.module)} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def ours(path: Path) -> set[str]:
    names = {name for name in imports_of(path) if name.startswith("nimble_lightning.")}
    return {name.split(".")[1] for name in names}


def upward() -> set[tuple[str, str]]:
    """Which module imports which of a room above its own."""
    return {
        (name_of(path), target)
        for path in MODULES
        if part_of(path) not in ENTRIES
        for target in targets_of(path)
        if LAYERS[target.split(".")[0]] > LAYERS[part_of(path)]
    }


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def targets_of(path: Path) -> set[str]:
    """The modules of ours that a file imports."""
    known = {name_of(other) for other in MODULES if part_of(other) not in ENTRIES}
    found = {name.removeprefix(f"{ROOT.name}.") for name in imports_of(path)} & known
    # `from a import b` names the module a.b, and its package with it.
    return {name for name in found if not any(other.startswith(f"{name}.") for other in found)}


def test_every_room_has_a_floor() -> None:
    assert {part_of(path) for path in MODULES} <= {*LAYERS, *ENTRIES}, "say on which floor of FLOORS it is"


def test_imports_go_one_way() -> None:
    assert not upward(), f"these reach up: {sorted(upward())}"


KNOW_OF_RUNS = tuple(
    f"nimble_lightning.{room}" for rooms in FLOORS[LAYERS["runs"] :] for room in rooms if room != "callbacks"
)


@pytest.mark.parametrize("path", sorted((ROOT / "callbacks").glob("[!_]*.py")), ids=lambda path: path.stem)
def test_callbacks_know_neither_each_other_nor_hydra_nor_runs(path: Path) -> None:
    for name in imports_of(path):
        assert name.split(".")[0] not in ("hydra", "omegaconf"), name
        assert not name.startswith(KNOW_OF_RUNS), name
        if name.startswith("nimble_lightning.callbacks."):
            assert name.split(".")[2].startswith("_"), f"{path.name} imports another callback: {name}"


LOWEST: dict[str, set[str]] = {
    "ops": {"ops", "run_folder", "settings", "errors"},
    "run_folder": {"errors"},
    "trainer": set(),
    "errors": set(),
}


@pytest.mark.parametrize("part", LOWEST)
def test_the_lowest_parts_know_none_above_them(part: str) -> None:
    for path in MODULES:
        if part_of(path) == part:
            assert ours(path) <= LOWEST[part], path


def test_pure_cores_know_no_lightning() -> None:
    for path in (
        path
        for room in ("ops", "gpu", "usage", "notifications", "terminal")
        for path in (ROOT / room).rglob("*.py")
    ):
        assert not any(
            name.split(".")[0] in ("lightning", "pytorch_lightning") for name in imports_of(path)
        ), path


def test_the_command_line_never_names_torch() -> None:
    for path in (ROOT / "cli").rglob("*.py"):
        heavy = {
            name for name in imports_of(path) if name.split(".")[0] in ("torch", "lightning", "transformers")
        }
        assert not heavy, f"{path.name}: {heavy}"


IMPORT_EFFECTS = """
import logging, os, signal, sys, threading, warnings
def state():
    handlers = [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)]
    said = list(logging.getLogger().handlers), list(warnings.filters)
    return dict(os.environ), handlers, said, threading.enumerate()
before = state()
import {module}
assert state() == before, "importing changed the process"
heavy = {{"torch", "lightning", "hydra", "transformers", "rich"}} & sys.modules.keys()
assert not heavy, heavy
"""


@pytest.mark.parametrize(
    "module", ["nimble_lightning", "nimble_lightning.callbacks", "nimble_lightning.loggers"]
)
def test_importing_does_nothing_and_is_cheap(module: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", IMPORT_EFFECTS.format(module=module)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


PUBLIC = {
    "nimble_lightning": {
        "HFTrainer",
        "NimbleTrainer",
        "Result",
        "RunError",
        "__version__",
        "adapt",
        "evaluate",
        "load",
        "models",
        "param",
        "predict",
        "run",
    },
    "nimble_lightning.loggers": {"CSVLogger", "JSONLLogger", "TrackioLogger", "read_metrics"},
}


@pytest.mark.parametrize("package", PUBLIC)
def test_the_public_names_are_these_and_no_others(package: str) -> None:
    assert set(importlib.import_module(package).__all__) == PUBLIC[package]


@pytest.mark.parametrize(
    "package", ["nimble_lightning", "nimble_lightning.callbacks", "nimble_lightning.loggers"]
)
def test_each_public_name_is_where_it_is_said_to_be(package: str) -> None:
    module = importlib.import_module(package)
    for name in module.__all__:
        assert getattr(module, name) is not None
    assert set(module.__all__) <= set(dir(module))
    with pytest.raises(AttributeError, match="no attribute 'nope'"):
        _ = module.nope
