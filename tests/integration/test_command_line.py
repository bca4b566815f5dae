"""The command as people type it: in a process of its own, answered without torch."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest
from forked_command import Command

TRAINER = """
import torch
from nimble_lightning import NimbleTrainer

class Line(NimbleTrainer):
    def pre_process(self, *, lr: float = 0.1, fail: bool = False):
        if fail:
            raise ValueError("asked to fail")
        x = torch.arange(32.0).reshape(16, 2) / 32
        self.train_data = self.eval_data = (x, x.sum(1, keepdim=True))
        self.model = torch.nn.Linear(2, 1)
        self.lr = lr

    def configure_optimizers(self):
        return torch.optim.SGD(self.model.parameters(), lr=self.lr)

    def train(self, batch):
        x, y = batch
        return ((self.model(x) - y) ** 2).mean()

    def evaluate(self, batch):
        x, y = batch
        return {"loss": ((self.model(x) - y) ** 2).mean()}
"""

# Runs in every Python started with it on the path, and leaves word of what had been imported by the end.
PROBE = """
import atexit, sys
from pathlib import Path

def tell():
    heavy = [name for name in ("torch", "lightning", "transformers", "apprise") if name in sys.modules]
    Path("imported.txt").write_text(" ".join(heavy))

atexit.register(tell)
"""

QUIET = [
    "lightning.accelerator=cpu",
    "lightning.max_epochs=1",
    "lightning.enable_model_summary=false",
    "logger=none",
]


@pytest.fixture(autouse=True)
def trainer_file() -> None:
    Path("my_trainer.py").write_text(dedent(TRAINER))
    Path("broken.py").write_text("import torch\nx = (1,\ndef f(): ...\n")
    Path("binary.py").write_bytes(b"\x00\xff\xfe")


def command(*words: str, script: bool = False) -> subprocess.CompletedProcess[str]:
    """Run the command; `imported()` then says what it had to import."""
    program = (
        [str(Path(sys.executable).with_name("nimble-cli"))]
        if script
        else [sys.executable, "-m", "nimble_lightning"]
    )
    return run([*program, *words])


def run(words: list[str]) -> subprocess.CompletedProcess[str]:
    Path("probe").mkdir(exist_ok=True)
    Path("probe/sitecustomize.py").write_text(PROBE)
    environment = {**os.environ, "PYTHONPATH": str(Path("probe").resolve())}
    return subprocess.run(words, capture_output=True, text=True, env=environment, timeout=120, check=False)


def imported() -> str:
    return Path("imported.txt").read_text()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["trainer=my_trainer.py", "params.lrr=1"], "did you mean params.lr?"),
        (["trainer=my_trainr.py"], "Did you mean trainer=my_trainer.py?"),
        (["trainer=my_trainer.py", "output_dir=/proc/nimble"], "cannot be written"),
        (["-m", "trainer=my_trainer.py", "params.lr=1,x"], "params.lr: expected float, got 'x'"),
        (
            ["trainer=my_trainer.py", "--hidden", "3"],
            "--hidden; a parameter of the trainer is given as params.hidden=3",
        ),
        (["trainer=my_trainer.py", "validator=threshold", "validator.criteria=[acc]"], "error: "),
        (["trainer=broken.py"], "broken.py:2: '(' was never closed\n    x = (1,"),
        (["trainer=binary.py"], "binary.py cannot be read as Python"),
        ([], "There is no trainer to run"),
    ],
)
def test_a_wrong_request_is_refused_before_torch_is_imported(words: list[str], said: str) -> None:
    done = command(*words)
    assert done.returncode == 2, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert imported() == ""
    assert not Path("outputs").exists()


def test_the_probe_notices_an_import() -> None:
    run([sys.executable, "-c", "import apprise"])
    assert imported() == "apprise"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--help"], "Exit codes"),
        (["trainer=my_trainer.py", "--help"], "params.lr: float = 0.1"),
        (["trainer=my_trainer.py", "--cfg", "job", "params.lr=2"], "lr: 2.0"),
        (["trainer=my_trainer.py", "--cfg", "hydra"], "chdir: false"),
        (["trainer=my_trainer.py", "--info", "defaults"], "callbacks/default"),
        (["--version"], "nimble-lightning"),
    ],
)
def test_a_question_is_answered_without_torch(words: list[str], said: str) -> None:
    done = command(*words)
    assert done.returncode == 0, done.stderr
    assert said in done.stdout
    assert done.stderr == ""
    assert imported() == ""


def test_nimble_cli_answers_alike() -> None:
    done = command("train", "my_trainer.py", "--validator_type", "params.lrr=1", script=True)
    assert done.returncode == 2
    assert "did you mean params.lr?" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_run_ends_in_its_named_folder_and_is_not_run_twice() -> None:
    words = ["trainer=my_trainer.py", "run_id=one", "callbacks=none", *QUIET]
    assert "val_loss=" in Command(*words).end_with(0)
    assert (Path("outputs/my_trainer/one") / "run.json").exists()
    assert "finished already" in Command(*words).end_with(0)


def test_a_sweep_goes_on_after_a_failed_job_and_sums_up() -> None:
    words = ["-m", "trainer=my_trainer.py", "params.fail=true,false", "run_id=s", "callbacks=none", *QUIET]
    done = Command(*words).end()
    assert done.returncode == 1, done.stderr
    assert "asked to fail" in done.stderr
    table = done.stdout[done.stdout.index("job  overrides") :].splitlines()
    assert ["failed" in table[1], "finished" in table[2]] == [True, True]
    assert "params.fail=True" in table[1]
    assert sorted(path.name for path in Path("outputs/my_trainer/s").iterdir() if path.is_dir()) == ["0", "1"]
