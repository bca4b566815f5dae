"""What `trainer=` names is found without importing it, or the answer says what to type."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from nimble_lightning.cli.schema.trainer_file import beside, peek
from nimble_lightning.errors import RequestError

Write = Callable[[str, str], Path]

MODULE = """
import lightning as L

class Net(L.LightningModule):
    def __init__(self, hidden: int = 8, lr: float = 0.1): ...

class Data(L.LightningDataModule):
    def __init__(self, batch_size: int = 4): ...

def build(width: int = 2):
    return Net(width), Data()
"""


def refusal(spec: str, key: str = "trainer") -> str:
    with pytest.raises(RequestError) as error:
        peek(spec, key=key)
    return str(error.value)


@pytest.mark.parametrize(
    "spelling", ["my_trainer.py", "./my_trainer.py", "my_trainer.py:MyTrainer", "my_trainer.py::MyTrainer"]
)
def test_a_file_is_found_however_it_is_spelt(trainer_file: Path, spelling: str) -> None:
    target = peek(spelling)
    assert (target.kind, target.name) == ("trainer", "my_trainer")
    assert target.reference == f"{trainer_file}:MyTrainer"
    assert list(target.signature.parameters) == ["hidden", "lr", "act"]


def test_an_absolute_path_with_a_space_is_found(write: Write) -> None:
    path = write("a b/t.py", "class T:\n    def pre_process(self): ...\n    def train(self, batch): ...\n")
    assert peek(str(path)).reference == f"{path}:T"


def test_a_class_in_a_module_is_referred_to_by_the_module(write: Write) -> None:
    write("pkg/__init__.py", "")
    write("pkg/mine.py", "class T(NimbleTrainer):\n    def train(self, batch): ...\n")
    target = peek("pkg.mine:T")
    assert (target.reference, target.name) == ("pkg.mine:T", "T")
    assert peek("pkg.mine").reference == "pkg.mine:T"


def test_the_methods_alone_make_a_trainer(write: Write) -> None:
    write(
        "t.py",
        "class Helper: ...\nclass T:\n    def pre_process(self, *, x=1): ...\n    def train(self, b): ...\n",
    )
    assert peek("t.py").node.name == "T"


def test_of_a_family_of_trainers_the_youngest_is_meant(write: Write) -> None:
    write(
        "t.py",
        "class Base(NimbleTrainer):\n    def pre_process(self, x=1): ...\n    def train(self, b): ...\n"
        "class Mine(Base): ...\n",
    )
    target = peek("t.py")
    assert target.node.name == "Mine"
    assert list(target.signature.parameters) == ["x"]


def test_a_trainer_without_pre_process_takes_any_parameter_as_its_base_does(write: Write) -> None:
    write(
        "t.py",
        "from nimble_lightning import NimbleTrainer\nclass T(NimbleTrainer):\n    def train(self, b): ...\n",
    )
    assert peek("t.py").signature.open


def test_the_original_whole_run_form_is_a_trainer(write: Write) -> None:
    methods = "".join(f"    def {m}(self, **kwargs): pass\n" for m in ("pre_process", "train", "evaluate"))
    write("t.py", f"from NimbleSDK import NimbleTrainer\nclass T(NimbleTrainer):\n{methods}")
    assert peek("t.py").signature.open


def test_a_lightning_module_brings_the_data_beside_it(write: Write) -> None:
    write("net.py", MODULE)
    target = peek("net.py")
    data = beside(target)
    assert (target.kind, target.node.name) == ("module", "Net")
    assert list(target.signature.parameters) == ["hidden", "lr"]
    assert data is not None
    assert list(data.signature.parameters) == ["batch_size"]


def test_a_function_may_build_both(write: Write) -> None:
    write("net.py", MODULE)
    target = peek("net.py:build")
    assert (target.kind, list(target.signature.parameters)) == ("function", ["width"])


def test_a_data_module_is_found_by_its_own_key(write: Write) -> None:
    write("net.py", MODULE)
    assert peek("net.py:Data", key="datamodule").kind == "data"
    assert "no LightningDataModule" in refusal("net.py:Net", key="datamodule")


def test_several_data_modules_have_to_be_told_apart(write: Write) -> None:
    write("net.py", MODULE + "\nclass More(L.LightningDataModule): ...\n")
    with pytest.raises(RequestError, match="2 data modules: Data, More\nSay which: datamodule=.*:Data"):
        beside(peek("net.py"))


def test_a_missing_file_names_the_nearest(trainer_file: Path) -> None:
    assert "Did you mean trainer=my_trainer.py?" in refusal("my_trainr.py")
    assert "Did you mean trainer=my_trainer.py?" in refusal("./my_trainer")
    assert "there is no folder" in refusal("nowhere/my_trainer.py")


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        (".", "is a folder\nGive a file: trainer=./my_trainer.py"),
        ("notes.txt", "is not a Python file"),
        ("no_such_package.x:T", "no such module"),
        ("my_trainer.py:MyTrainr", "did you mean trainer=my_trainer.py:MyTrainer?"),
        ("my_trainer.py:Zebra", "has no Zebra; it holds MyTrainer"),
    ],
)
def test_what_is_no_trainer_is_refused_with_what_to_type(
    trainer_file: Path, write: Write, spec: str, said: str
) -> None:
    write("notes.txt", "")
    assert said in refusal(spec)


def test_a_file_with_several_trainers_lists_them(write: Write) -> None:
    body = "(NimbleTrainer):\n    def train(self, b): ...\n"
    write("t.py", f"class A{body}class B{body}")
    said = refusal("t.py")
    assert "A (line 1), B (line 3)" in said
    assert "Say which: trainer=t.py:A" in said


def test_a_file_without_a_trainer_says_what_makes_one(write: Write) -> None:
    write("t.py", "x = 1\n")
    assert "holds no NimbleTrainer or LightningModule" in refusal("t.py")


def test_of_two_classes_the_chosen_one_is_named(write: Write) -> None:
    methods = "    def pre_process(self): ...\n    def train(self, batch): ...\n"
    write("two.py", f"class Base(NimbleTrainer):\n{methods}class Other(Base): ...\n")
    assert peek("two.py").signature.owner == "Other.pre_process"


def test_a_base_class_in_a_broken_neighbour_shows_its_line(write: Write) -> None:
    broken = write("helper.py", "class Base:\n    def train(self, batch:\n")
    write("mine.py", "from helper import Base\nclass Mine(Base):\n    pass\n")
    assert refusal("mine.py").startswith(f"{broken}:2: '(' was never closed")


@pytest.mark.parametrize("content", [b"\x00", b'x = "\xe9"', b"x = " + b"(" * 999, b"x = 1" + b"+1" * 99999])
def test_what_is_no_python_is_refused_in_words(write: Write, content: bytes) -> None:
    path = write("mine.py", "")
    path.write_bytes(content)
    assert refusal("mine.py").startswith(str(path))
    assert len(refusal("mine.py")) < 400


def test_a_syntax_error_shows_its_line(write: Write) -> None:
    path = write("t.py", "x = 1\ndef f(:\n    pass\n")
    said = refusal("t.py")
    assert said.startswith(f"{path}:2: ")
    assert "def f(:" in said


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("preprocess", "pre_process"),
        ("pre_proces", "pre_process"),
        ("evalute", "evaluate"),
        ("predict_and_shows", "predict_and_show"),
        ("predictAndShow", "predict_and_show"),
        ("configure_optimizer", "configure_optimizers"),
        ("Train", "train"),
    ],
)
def test_a_misspelt_method_is_refused_with_the_right_name(write: Write, written: str, meant: str) -> None:
    others = [m for m in ("pre_process", "train", "evaluate") if m != meant]
    methods = "".join(f"    def {name}(self, x): ...\n" for name in [*others, written])
    write("t.py", f"class T(NimbleTrainer):\n{methods}")
    said = refusal("t.py")
    assert f"T.{written} would never be called; did you mean {meant}?" in said
    assert f"t.py:{len(others) + 2}" in said


@pytest.mark.parametrize(
    "helper", ["_preprocess", "load", "training", "trainable", "evaluation_step", "logs", "tests"]
)
def test_helpers_are_left_alone(write: Write, helper: str) -> None:
    methods = "".join(
        f"    def {name}(self, x): ...\n" for name in ("pre_process", "train", "evaluate", helper)
    )
    write("t.py", f"class T(NimbleTrainer):\n{methods}")
    assert peek("t.py").node.name == "T"


def test_a_trainer_that_cannot_train_is_refused(write: Write) -> None:
    write(
        "t.py", "from base_elsewhere import helper\nclass T(NimbleTrainer):\n    def pre_process(self): ...\n"
    )
    # Its base class has a `train` that only says so at run time, when the base can be read at all.
    assert peek("t.py").node.name == "T"
    write("u.py", "class NimbleTrainer: ...\nclass T(NimbleTrainer):\n    def pre_process(self): ...\n")
    assert "T has no train" in refusal("u.py:T")


def test_a_base_that_came_with_a_star_is_found() -> None:
    Path("bases.py").write_text("import lightning as L\nclass Base(L.LightningModule): ...\n")
    Path("starred.py").write_text("from bases import *\nclass Mine(Base): ...\n")
    assert peek("starred.py").kind == "module"
