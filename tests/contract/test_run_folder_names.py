"""The names of files in a run folder stand in `run_folder.py` alone; the rest takes them from there."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import pytest

from nimble_lightning import run_folder

PACKAGE = Path(run_folder.__file__).parent
NAMES = {PurePosixPath(value).name for name, value in vars(run_folder).items() if name.isupper()}
FILES = {name for name in NAMES if "." in name}
# These are words of settings, of checkpoints and of reports as well: as names of folders they stand in paths.
FOLDERS = NAMES - FILES - {"best", "steps", "usage"}


def strings(tree: ast.AST) -> Iterator[str]:
    """Every string but those of docstrings, which may speak of a file."""
    told = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in told:
            yield node.value


def joined(tree: ast.AST) -> Iterator[str]:
    """Every string that is put behind a path: `folder / "name"`."""
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.BinOp)
            and isinstance(node.op, ast.Div)
            and isinstance(node.right, ast.Constant)
        ):
            yield str(node.right.value)


def spelt_out(source: str) -> set[str]:
    tree = ast.parse(source)
    files = {name for text in strings(tree) for name in text.rstrip("*").split("/") if name in FILES}
    folders = {name for text in joined(tree) for name in text.split("/") if name in FOLDERS}
    below = {text.split("/")[0] for text in strings(tree) if text.split("/")[0] in FOLDERS and "/" in text}
    return files | folders | below


def test_no_other_module_spells_out_the_name_of_a_file_in_a_run_folder() -> None:
    # A configuration that is shipped has the name of the one that is composed from it.
    shipped = PACKAGE / "report" / "shipped_defaults.py"
    others = [path for path in PACKAGE.rglob("*.py") if path not in (Path(run_folder.__file__), shipped)]
    found = {
        str(path.relative_to(PACKAGE)): names for path in others if (names := spelt_out(path.read_text()))
    }
    assert not found, "take these names from nimble_lightning.run_folder"


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ('read(folder / "run.json")', {"run.json"}),
        ('folder.glob("*/job.yaml")', {"job.yaml"}),
        ('folder.glob("statement.json*")', {"statement.json"}),
        ('read(folder, f"errors/{name}")', {"errors"}),
        ('folder / "checkpoints" / name', {"checkpoints"}),
        ('settings["checkpoints"]', set()),
        ('def f():\n    """The content of run.json."""', set()),
    ],
)
def test_a_name_that_is_spelt_out_is_found(source: str, names: set[str]) -> None:
    assert spelt_out(source) == names
