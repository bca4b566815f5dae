"""Every name of ours that stands in a text is the name of something: no import or checker reads those.

`import_module("nimble_lightning.a.b")`, a test's `monkeypatch.setattr("nimble_lightning.a.b.c", ...)`, a
`_target_`, an entry point, a command after `-m`, a program inside a string, a path in CONTRIBUTING: when what
it names is moved, each breaks only where it is used, or misleads for ever. They are looked up here by reading
files; nothing is imported.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from itertools import product
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
NAME = "nimble_lightning"
DOCUMENTS = ("README.md", "CONTRIBUTING.md", "docs/**/*.md", "examples/**/*.md")
TEXTS = (
    *(f"{folder}/**/*.py" for folder in (NAME, "tests", "examples", "conf")),
    *("conf/**/*.yaml", "examples/**/*.yaml", f"{NAME}/**/templates/*"),
    *("pyproject.toml", "setup.py", "Makefile", ".ci/run"),
    *DOCUMENTS,
)
# A test that needs a name of nothing calls it so: `nimble_lightning.nope`, `nimble_lightning.callbacks.Nope`.
MEANT_TO_BE_ABSENT = re.compile(r"\.[nN]ope\b")

# What stands before a slash is no module but the format of a file: `nimble_lightning.usage/1`.
DOTTED = re.compile(rf"(?<![\w./-]){NAME}(?:\.[A-Za-z_]\w*+)++(?::[A-Za-z_]\w*+)?+(?!/|\.toml)")
IMPORTED = re.compile(rf"from ({NAME}[\w.]*) import (?:\(([^)]*)\)|([^\n\"'\\(]*))")
CALLED = re.compile(rf"import_module\(\s*\"({NAME}[\w.]*)\"\s*\)(?:\.|, \")([A-Za-z_]\w*)")
RUN = re.compile(rf"-m(?:\", \"| )({NAME}[\w.]*)")
PATH = re.compile(r"(?<![\w./{}-])((?:[\w{}.,-]+/)+(?:[\w{},-]+\.(?:py|yaml))?)(?![\w*<])")


class Found(NamedTuple):
    """A text's name for something, and what it is expected to be."""

    place: str
    name: str


def texts(patterns: tuple[str, ...]) -> Iterator[tuple[Path, str]]:
    for pattern in patterns:
        for path in sorted(ROOT.glob(pattern)):
            if path != Path(__file__) and path.is_file() and "__pycache__" not in path.parts:
                yield path, path.read_text()


def shipped(path: str) -> str:
    """Where a path in the installed package lies here: `conf` stands beside it."""
    return path.removeprefix(f"{NAME}/") if f"{path}/".startswith(f"{NAME}/conf/") else path


def file_of(parts: tuple[str, ...]) -> Path | None:
    """The file or folder of a module."""
    base = ROOT / shipped("/".join(parts))
    if base.is_dir():
        return base / "__init__.py" if (base / "__init__.py").exists() else base
    return base.with_suffix(".py") if base.with_suffix(".py").exists() else None


def statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements of a body and of its branches, but not of what it defines."""
    for statement in body:
        yield statement
        for field in ("body", "orelse", "handlers", "finalbody"):
            if not isinstance(statement, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
                yield from statements(getattr(statement, field, []))


def bound(body: list[ast.stmt], package: str) -> dict[str, ast.AST | str]:
    """The names a body binds: to a class, to another name (where it is imported from), to anything else."""
    names: dict[str, ast.AST | str] = {}
    for statement in statements(body):
        if isinstance(statement, ast.ImportFrom):
            names |= {a.asname or a.name: f"{statement.module}.{a.name}" for a in statement.names}
        elif isinstance(statement, ast.Import):
            names |= {a.asname or a.name.split(".")[0]: a.name for a in statement.names}
        elif isinstance(statement, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
            names[statement.name] = statement
        else:
            stored = (n for n in ast.walk(statement) if isinstance(n, ast.Name))
            names |= {n.id: statement for n in stored if isinstance(n.ctx, ast.Store)}
            names |= lazy_homes(statement, package)
    return names


def lazy_homes(statement: ast.stmt, package: str) -> dict[str, ast.AST | str]:
    """The names a package takes from elsewhere when they are asked for: `lazy(__name__, {...})`."""
    call = statement.value if isinstance(statement, ast.Assign) else None
    if not (isinstance(call, ast.Call) and ast.unparse(call.func) == "lazy"):
        return {}
    homes: dict[str, str] = ast.literal_eval(call.args[1])
    full = {name: f"{package}{home}" if home.startswith(".") else home for name, home in homes.items()}
    return {name: f"{home}.{name}" for name, home in full.items()}


@cache
def names_of(path: Path, package: str) -> dict[str, ast.AST | str]:
    return bound(ast.parse(path.read_text()).body, package) if path.suffix == ".py" else {}


@cache
def exists(name: str) -> bool:
    """Whether a dotted name is that of a module of ours or of something in it."""
    parts = tuple(name.split("."))
    if parts[0] != NAME:
        return True
    depth = next((n for n in range(len(parts), 0, -1) if file_of(parts[:n])), 0)
    home = file_of(parts[:depth])
    if home is None or depth == len(parts):
        return home is not None
    here = names_of(home, ".".join(parts[:depth]))
    return parts[depth].startswith("__") or has(here.get(parts[depth]), parts[depth + 1 :])


def has(thing: ast.AST | str | None, attributes: tuple[str, ...]) -> bool:
    if isinstance(thing, str):
        return exists(".".join((thing, *attributes)))
    if isinstance(thing, ast.ClassDef) and attributes and not thing.bases:
        return attributes[0] in bound(thing.body, "") or attributes[0].startswith("__")
    return thing is not None


def names_in(text: str) -> Iterator[str]:
    yield from (match[0].replace(":", ".") for match in DOTTED.finditer(text))
    yield from (f"{module}.{attribute}" for module, attribute in CALLED.findall(text))
    for module, in_brackets, on_line in IMPORTED.findall(text):
        words = re.sub(r"#[^\n]*| as \w+|\\n", "", in_brackets or on_line.split(";")[0])
        yield from (f"{module}.{name.strip()}" for name in words.split(",") if name.strip().isidentifier())


def runs(module: str) -> bool:
    """Whether `python -m` can start a module."""
    home = file_of(tuple(module.split(".")))
    return home is not None and (home.name != "__init__.py" or home.with_name("__main__.py").exists())


def spelt_out(path: str) -> list[str]:
    """`a/{b,c}.py` is `a/b.py` and `a/c.py`."""
    pieces = [piece.split(",") for piece in re.split(r"[{}]", path)]
    return ["".join(chosen) for chosen in product(*pieces)]


def paths_in(text: str, folders: set[str]) -> Iterator[str]:
    for match in PATH.finditer(text):
        if re.split(r"[/{]", match[1])[0] in folders:
            yield from spelt_out(match[1])


def leads_somewhere(path: str) -> bool:
    return any((home / shipped(path)).exists() for home in (ROOT, ROOT / NAME))


def listed(found: set[Found]) -> str:
    return "\n".join(["", *sorted(f"{place}: {name}" for place, name in found)])


def test_every_dotted_name_of_ours_is_that_of_something() -> None:
    found = {
        Found(str(path.relative_to(ROOT)), name) for path, text in texts(TEXTS) for name in names_in(text)
    }
    wrong = {f for f in found if not exists(f.name) and not MEANT_TO_BE_ABSENT.search(f.name)}
    assert not wrong, listed(wrong)
    assert len(found) > 1000, "the names are looked for in the wrong places"


def test_every_module_started_by_name_can_be_started() -> None:
    found = {
        Found(str(path.relative_to(ROOT)), name) for path, text in texts(TEXTS) for name in RUN.findall(text)
    }
    wrong = {f for f in found if not runs(f.name)}
    assert not wrong, listed(wrong)
    assert len({f.name for f in found}) > 3


def test_every_package_says_truly_where_its_lazy_names_live() -> None:
    packages = [path.parent for path in (ROOT / NAME).rglob("__init__.py")]
    lazy = {
        f"{'.'.join(package.relative_to(ROOT).parts)}.{name}"
        for package in packages
        for name in names_of(package / "__init__.py", ".".join(package.relative_to(ROOT).parts))
    }
    assert not sorted(name for name in lazy if not exists(name))


def test_every_path_in_the_documents_leads_to_a_file_or_folder() -> None:
    folders = {path.name for home in (ROOT, ROOT / NAME) for path in home.iterdir() if path.is_dir()}
    found = [
        Found(str(path.relative_to(ROOT)), name)
        for path, text in texts(DOCUMENTS)
        for span in re.findall(r"`[^`\n]+`", text)
        for name in paths_in(span[1:-1], folders)
    ]
    wrong = {f for f in found if not leads_somewhere(f.name)}
    assert not wrong, listed(wrong)
    assert found


def test_every_path_to_a_module_of_ours_in_the_code_leads_to_a_file_or_folder() -> None:
    found = {
        Found(str(path.relative_to(ROOT)), name)
        for path, text in texts(TEXTS)
        for name in paths_in(text, {NAME})
    }
    wrong = {f for f in found if not leads_somewhere(f.name)}
    assert not wrong, listed(wrong)


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ('import_module("nimble_lightning.worker.worker")', True),
        ('import_module("nimble_lightning.runtime.wroker")', False),
        ('import_module("nimble_lightning.commands.retry").main(words)', True),
        ('import_module("nimble_lightning.commands.retry").mian(words)', False),
        ("_target_: nimble_lightning.callbacks.GPUInfo", True),
        ("_target_: nimble_lightning.callbacks.GPUinfo", False),
        ('entry = "nimble_lightning.commands.main:main"', True),
        ('entry = "nimble_lightning.commands.main:mian"', False),
        ('setattr("nimble_lightning.supervision.stop_request.time.monotonic", f)', True),
        ('setattr("nimble_lightning.supervision.stop_request.tine.monotonic", f)', False),
        ('"from nimble_lightning import param, NimbleTrainer\\n"', True),
        ('"from nimble_lightning.trainer import (param,\\n    NimbleTrianer)"', False),
        ('SCHEMA = "nimble_lightning.usage/1"', True),
        ("nimble_lightning.conf.callbacks", True),
        ("nimble_lightning.conf.callback", False),
    ],
)
def test_a_wrong_name_is_found(text: str, right: bool) -> None:
    assert all(map(exists, names_in(text))) is right
