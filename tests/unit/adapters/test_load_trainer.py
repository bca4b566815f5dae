"""`trainer=` finds the one thing meant, whatever the file is called and whatever else is in it."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Iterator
from pathlib import Path

import lightning as L
import pytest
from torch.utils.data import DataLoader

from nimble_lightning import NimbleTrainer
from nimble_lightning.adapters.load_trainer import datamodule_beside, load, parameters_for, require_known
from nimble_lightning.errors import RequestError

TRAINER = """
from nimble_lightning import NimbleTrainer

class Mine(NimbleTrainer):
    where = __file__
"""


@pytest.fixture(autouse=True)
def _modules_as_before() -> Iterator[None]:
    modules, path = dict(sys.modules), list(sys.path)
    yield
    for name in sys.modules.keys() - modules.keys():
        if (getattr(sys.modules[name], "__file__", None) or "").startswith(str(Path("/tmp"))):
            del sys.modules[name]
    sys.path[:] = path


def write(place: str, source: str = TRAINER) -> str:
    path = Path(place).absolute()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(source)
    return str(path)


def test_a_file_is_loaded_once_and_by_its_own_name() -> None:
    spec = write("nl_mine.py")
    found = load(spec)
    assert (found.__name__, found.__module__) == ("Mine", "nl_mine")
    assert load(spec) is load(f"{spec}:Mine") is found
    assert load("nl_mine:Mine") is load("nl_mine.Mine") is load("nl_mine") is found


def test_files_of_one_name_in_different_folders_do_not_meet() -> None:
    one, other = load(write("a/nl_same.py")), load(write("b/nl_same.py"))
    assert (Path(one.where).parent.name, Path(other.where).parent.name) == ("a", "b")
    assert load(str(Path("a/nl_same.py"))) is one


@pytest.mark.parametrize("name", ["torch", "test", "random", "yaml", "not a name"])
def test_a_file_may_have_the_name_of_something_else(name: str) -> None:
    before = sys.modules.get(name)
    found = load(write(f"x/{name}.py"))
    assert found.where.endswith(f"{name}.py")
    assert sys.modules.get(name) is before
    in_use = name in sys.modules or name in sys.stdlib_module_names
    assert (sys.path[0] != str(Path("x").absolute())) == in_use, "or it would be imported instead"


def test_neighbours_can_be_imported_as_from_a_script() -> None:
    write("y/nl_helpers.py", "answer = 42")
    spec = write("y/nl_with_helpers.py", f"from nl_helpers import answer\n{TRAINER}")
    assert load(spec).__name__ == "Mine"


def test_a_class_with_the_methods_is_enough_and_helpers_do_not_count() -> None:
    spec = write(
        "nl_duck.py",
        """
from nimble_lightning import NimbleTrainer
import lightning

class _Base(NimbleTrainer): ...
class Base(_Base): ...
class Net(lightning.LightningModule): ...
class Duck:
    def pre_process(self): ...
    def train(self, batch): ...
class Leaf(Base): ...
""",
    )
    with pytest.raises(RequestError, match=r"holds 2 trainers \(Duck, Leaf\); say which: trainer=.*:NAME"):
        load(spec)
    assert load(f"{spec}:Duck").__name__ == "Duck"


def test_without_a_trainer_the_lightning_module_is_meant_and_its_data_beside_it() -> None:
    found = load(
        write(
            "nl_lightning.py",
            """
import lightning as L
class _Layer(L.LightningModule): ...
class Net(L.LightningModule):
    def __init__(self, width=1): ...
class Data(L.LightningDataModule): ...
""",
        )
    )
    beside = datamodule_beside(found, None)
    assert (found.__name__, beside.__name__) == ("Net", "Data")
    assert parameters_for(found, {"width": 2, "size": 3}) == {"width": 2}
    assert parameters_for(beside, {"width": 2}) == {}, "Lightning's own takes anything and uses nothing"
    assert issubclass(beside, L.LightningDataModule)
    require_known({"width": 2}, found, beside)
    with pytest.raises(RequestError, match="Net, Data: no parameter 'widht'. There are: width."):
        require_known({"widht": 2}, found, beside)


def test_the_original_sdk_is_answered_while_loading_and_not_after() -> None:
    found = load(
        write("nl_original.py", "from NimbleSDK import NimbleTrainer\nclass Mine(NimbleTrainer): ...")
    )
    assert issubclass(found, NimbleTrainer)
    assert "NimbleSDK" not in sys.modules


DATA = """
from dataclasses import dataclass
from nimble_lightning import NimbleTrainer

@dataclass
class Sample:
    number: int

class Numbers:
    def __len__(self): return 4
    def __getitem__(self, i): return Sample(i)

def first(samples): return samples[0].number

class Mine(NimbleTrainer): ...
"""


@pytest.mark.parametrize("start", ["fork", "forkserver"])
def test_its_classes_travel_to_loader_processes(start: str) -> None:
    load(write("nl_data.py", DATA))
    module = sys.modules["nl_data"]
    assert pickle.loads(pickle.dumps(module.Sample(1))) == module.Sample(1)
    loader = DataLoader(
        module.Numbers(), collate_fn=module.first, num_workers=2, multiprocessing_context=start
    )
    assert list(loader) == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("nl_absent.py", "There is no file"),
        ("no_such_package:Mine", "names neither a file nor an importable module"),
        ("no_such_package.Mine", "names neither a file nor an importable module"),
        ("nl_empty.py", "holds no trainer: no class with pre_process and train"),
        ("nl_empty.py:Mine", "has no Mine. It has: no trainer class"),
    ],
)
def test_what_is_not_there_is_said_in_a_sentence(spec: str, said: str) -> None:
    write("nl_empty.py", "")
    with pytest.raises(RequestError, match=said):
        load(spec)


def test_a_file_that_fails_to_load_can_be_corrected_and_loaded() -> None:
    spec = write("nl_broken.py", "1 / 0")
    with pytest.raises(ZeroDivisionError):
        load(spec)
    write("nl_broken.py")
    assert load(spec).__name__ == "Mine"
