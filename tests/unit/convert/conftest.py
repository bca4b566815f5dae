"""Each test is in a folder with a trainer, which printed commands name."""

from __future__ import annotations

from pathlib import Path

import pytest

TRAINER = """
from nimble_lightning import NimbleTrainer

class MyTrainer(NimbleTrainer):
    def pre_process(self): ...
    def train(self, batch): ...
"""


@pytest.fixture(autouse=True)
def _in_a_folder_with_a_trainer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("my_trainer.py").write_text(TRAINER)
