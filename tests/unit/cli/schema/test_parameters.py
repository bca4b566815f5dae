"""Parameters are read from source, across base classes, imports and decorators."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from nimble_lightning.cli.schema.parameters import Signature, of_class, of_definition, of_method, of_target
from nimble_lightning.cli.schema.source_code import find_object, locate, read

Write = Callable[[str, str], Path]


def signature_in(path: Path, name: str) -> Signature:
    found = read(path).find(name)
    assert found is not None
    signature = of_definition(*found)
    assert signature is not None
    return signature


def test_names_types_defaults_and_descriptions_are_read(write: Write) -> None:
    path = write(
        "a.py",
        '''
        def make(width: int, *, lr: "float | None" = None, act="relu"):
            """Make it.

            Args:
                width: How wide.
                act (str): Which.
            """
        ''',
    )
    parameters = signature_in(path, "make").parameters
    assert [p.text for p in parameters.values()] == ["width: int", "lr: float | None = None", "act='relu'"]
    assert parameters["width"].required
    assert not parameters["lr"].required
    assert (parameters["width"].doc, parameters["act"].doc, parameters["lr"].doc) == (
        "How wide.",
        "Which.",
        "",
    )


def test_nothing_of_the_file_is_run(write: Write) -> None:
    path = write("b.py", "raise SystemExit('imported')\nclass A:\n    def __init__(self, x=1): ...\n")
    assert list(signature_in(path, "A").parameters) == ["x"]


def test_only_defaults_that_need_no_running_have_a_value(write: Write) -> None:
    parameters = signature_in(
        write("c.py", "def f(a=-1, b=(1, 2), c=SIZE, d={'x': [1]}): ..."), "f"
    ).parameters
    assert [parameters[name].value() for name in "abd"] == [-1, (1, 2), {"x": [1]}]
    with pytest.raises(ValueError, match="malformed"):
        parameters["c"].value()


def test_an_inherited_constructor_is_found_in_the_file_it_is_imported_from(write: Write) -> None:
    write("base_of_it.py", "class Base:\n    def __init__(self, x: int = 1): ...\n")
    path = write("d.py", "from base_of_it import Base as B\nclass A(B): ...\n")
    assert list(signature_in(path, "A").parameters) == ["x"]


def test_relative_imports_and_re_exports_are_followed(write: Write) -> None:
    write("pack/__init__.py", "from .inner import Thing\n")
    write("pack/inner.py", "from . import deep\nclass Thing(deep.Base): ...\n")
    path = write("pack/deep.py", "class Base:\n    def __init__(self, y=2): ...\n")
    found = find_object("pack.Thing", near=path.parent.parent)
    assert found is not None
    assert list(of_class(found[1], found[0]).parameters) == ["y"]  # type: ignore[arg-type]


def test_imports_in_a_circle_end(write: Write) -> None:
    write("ring_a.py", "from ring_b import Thing\n")
    path = write("ring_b.py", "from ring_a import Thing\n")
    assert read(path).find("Thing") is None


def test_a_base_class_that_cannot_be_read_may_take_anything(write: Write) -> None:
    path = write("e.py", "from nowhere_at_all import Base\nclass A(Base): ...\n")
    assert signature_in(path, "A").open


def test_a_class_without_constructor_takes_nothing(write: Write) -> None:
    signature = signature_in(write("f.py", "class A: ...\n"), "A")
    assert not signature.parameters
    assert not signature.open


def test_a_dataclass_takes_its_fields(write: Write) -> None:
    path = write(
        "g.py", "@dataclass(frozen=True)\nclass A:\n    x: int = 1\n    y: str = ''\n    def f(self): ...\n"
    )
    assert list(signature_in(path, "A").parameters) == ["x", "y"]


def test_a_method_nobody_defines_is_absent(write: Write) -> None:
    path = write("h.py", "class A:\n    def run(self): ...\n")
    source = read(path)
    assert of_method(source.classes()[0], source, "walk") is None


def test_definitions_under_if_and_try_are_found(write: Write) -> None:
    path = write(
        "i.py", "try:\n    import x\nexcept ImportError:\n    class A: ...\nif 1:\n    def f(): ...\n"
    )
    assert [c.name for c in read(path).classes()] == ["A"]
    assert [f.name for f in read(path).functions()] == ["f"]


@pytest.mark.parametrize(
    ("target", "some"),
    [
        ("lightning.Trainer", {"max_epochs", "precision", "limit_train_batches"}),
        ("lightning.pytorch.callbacks.EarlyStopping", {"monitor", "patience"}),
        ("torch.optim.AdamW", {"lr", "betas"}),
        ("lightning.pytorch.loggers.WandbLogger", {"project", "offline"}),
        ("nimble_lightning.loggers.JSONLLogger", set()),
    ],
)
def test_installed_classes_are_read_where_they_are_defined(target: str, some: set[str]) -> None:
    signature = of_target(target)
    assert signature is not None
    assert some <= set(signature.parameters)


def test_what_is_read_is_what_python_says() -> None:
    from nimble_lightning.cli.arguments import Request

    signature = of_target("nimble_lightning.cli.arguments.Request")
    assert signature is not None
    assert list(signature.parameters) == list(inspect.signature(Request).parameters)


def test_looking_for_a_module_imports_nothing() -> None:
    before = set(sys.modules)
    assert locate("lightning.pytorch.trainer.trainer") is not None
    assert locate("no_such_package_anywhere.x") is None
    assert "lightning" not in set(sys.modules) - before
