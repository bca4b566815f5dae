"""Source files to read, written where the test runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

import pytest

from nimble_lightning.cli.schema.source_code import read

Write = Callable[[str, str], Path]

TRAINER = '''
from typing import Literal
from nimble_lightning import NimbleTrainer

class MyTrainer(NimbleTrainer):
    def pre_process(self, *, hidden: int = 64, lr: float = 1e-3, act: Literal["relu", "gelu"] = "relu"):
        """Prepare.

        Args:
            hidden: Width of the hidden layer.
        """

    def train(self, batch):
        return 0
'''


@pytest.fixture
def write() -> Write:
    def write_file(name: str, text: str) -> Path:
        path = Path(name).resolve()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(text), encoding="utf-8")
        read.cache_clear()
        return path

    return write_file


def trainer(keywords: str) -> str:
    """The source of a trainer whose pre_process has these keywords."""
    return (
        "class T(NimbleTrainer):\n"
        f"    def pre_process(self, {keywords}): ...\n"
        "    def train(self, batch): ...\n"
    )


@pytest.fixture
def write_trainer(write: Write) -> Callable[..., Path]:
    return lambda keywords, name="my_trainer.py": write(name, trainer(keywords))


@pytest.fixture
def trainer_file(write: Write) -> Path:
    return write("my_trainer.py", TRAINER)
