"""Nothing in the command line needs torch, and only a run that starts reaches for what runs it."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import nimble_lightning

PACKAGE = Path(nimble_lightning.__file__).parent
# Those of the commands that are read before it is known what will be done.
COMMANDS = (
    *("__init__", "argument_parser", "hide_addresses", "main", "train", "report", "train_flags", "usage"),
    "plan/parse_options",
)
FILES = [*sorted(PACKAGE.glob("cli/**/*.py")), *(PACKAGE / f"commands/{name}.py" for name in COMMANDS)]
# What may be imported at once: none of it brings anything heavy along, as the last test shows.
LIGHT = (
    "nimble_lightning.cli",
    "nimble_lightning.errors",
    "nimble_lightning.export.formats",
    "nimble_lightning.ops",
    "nimble_lightning.commands",
    "nimble_lightning.notifications",
    "nimble_lightning.run_folder",
    "nimble_lightning.sweeps",
    "nimble_lightning.terminal",
    "nimble_lightning.usage",
    "nimble_lightning.runs.request.setting_blocks",
    "nimble_lightning.runs.request.setting_effects",
    "nimble_lightning.worker.server.forkserver",
    "nimble_lightning.launch.external.detect",
    "nimble_lightning.settings",
)
# Imported inside functions themselves, by whoever needs them.
LATE = ("nimble_lightning.cli.hydra.slurm_array",)
HEAVY = ("torch", "lightning", "transformers", "datasets", "apprise", "numpy")


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)


def imports(node: ast.AST) -> set[str]:
    found = set()
    for child in ast.walk(node):
        if isinstance(child, ast.Import):
            found |= {alias.name for alias in child.names}
        elif isinstance(child, ast.ImportFrom):
            found.add(child.module or "")
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: module_of(path))
def test_no_file_of_the_command_line_mentions_a_heavy_import(path: Path) -> None:
    assert not {name for name in imports(ast.parse(path.read_text())) if name.partition(".")[0] in HEAVY}


@pytest.mark.parametrize("path", FILES, ids=lambda path: module_of(path))
def test_what_runs_a_job_is_imported_only_inside_functions(path: Path) -> None:
    tree = ast.parse(path.read_text())
    at_once = {
        name for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom) for name in imports(node)
    }
    ours = {name for name in at_once if name.startswith("nimble_lightning.")}
    assert not any(name.startswith(LATE) for name in ours)
    if module_of(path) not in LATE:
        assert all(name.startswith(LIGHT) for name in ours)


def test_importing_all_of_it_imports_nothing_heavy() -> None:
    names = [module_of(path) for path in FILES if path.stem != "__init__"]
    program = f"import sys, {', '.join(names)}; print([m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"
