"""What is handed to Slurm, by a stand-in for its commands; a real one is asked in the integration tests."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

import nimble_lightning as nl
from nimble_lightning.errors import RequestError
from nimble_lightning.testing.tiny import TinyTrainer

_SBATCH = """#!/bin/sh
cat "$2" > {folder}/script
echo 4711
"""


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where scripts go; the queue is empty, and this machine is the only one."""
    for name, text in {"sbatch": _SBATCH.format(folder=tmp_path), "squeue": "#!/bin/sh\n"}.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o700)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return tmp_path


def test_a_notebook_hands_a_run_in_and_is_told_how_to_watch_it(slurm: Path) -> None:
    result = nl.run(
        "nimble_lightning.testing.tiny:TinyTrainer",
        launch="slurm",
        lightning={"max_epochs": 7},
        run_id="handed",
    )
    assert (result.status, result.metrics) == ("submitted", {})
    assert "Slurm job 4711" in result.message
    assert f"-m nimble_lightning.launch.slurm {result.folder}\n" in (slurm / "script").read_text()
    assert json.loads((result.folder / "slurm.json").read_text())["job"] == "4711"
    assert "max_epochs: 7" in (result.folder / "job.yaml").read_text()
    assert not (result.folder / "run.json").exists(), "nothing is trained here"


def test_what_only_this_process_knows_is_not_trained_here_instead(slurm: Path) -> None:
    with pytest.raises(RequestError, match=r"launch=slurm needs a class in a file.*Put it into a file"):
        nl.run(TinyTrainer(), launch="slurm")
    assert not (slurm / "script").exists()
