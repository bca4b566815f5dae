"""Lightning is imported without most of torchmetrics, and whoever asks for the rest has it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

BEGIN = "import sys; from nimble_lightning.worker.server.lazy_torchmetrics import postpone; "


def told(program: str, path: Path | None = None) -> str:
    """What a program says in a process of its own, which has imported nothing yet."""
    done = subprocess.run(
        [sys.executable, "-c", BEGIN + program],
        env={"PYTHONPATH": "" if path is None else str(path)},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_lightning_gets_by_with_a_part_of_it() -> None:
    told(
        "postpone(); import lightning.pytorch, torchmetrics; "
        "assert 'scipy' not in sys.modules and 'transformers' not in sys.modules; "
        "assert lightning.pytorch.core.module.Metric is torchmetrics.Metric"
    )


@pytest.mark.parametrize(
    "use",
    [
        "from torchmetrics import Accuracy as asked",
        pytest.param("import torchmetrics; asked = torchmetrics.Accuracy", marks=pytest.mark.slow),
        pytest.param("from torchmetrics.classification import Accuracy as asked", marks=pytest.mark.slow),
        pytest.param("from torchmetrics import *; asked = Accuracy", marks=pytest.mark.slow),
    ],
)
def test_whoever_asks_for_more_has_it(use: str) -> None:
    told(
        f"postpone(); {use}; import torchmetrics; assert issubclass(asked, torchmetrics.Metric); "
        "assert torchmetrics.Accuracy is asked; assert torchmetrics.functional.accuracy"
    )


@pytest.mark.slow
def test_what_is_not_there_is_said_as_usual() -> None:
    assert told(
        "postpone(); import torchmetrics\n"
        "try:\n    torchmetrics.Nonsense\n"
        "except AttributeError as error:\n    print(error)"
    ) == ("module 'torchmetrics' has no attribute 'Nonsense'")


def test_nothing_is_postponed_that_is_going_to_be_used() -> None:
    assert told("postpone(['sklearn', 'torchmetrics.text']); print('torchmetrics' in sys.modules)") == "False"


def test_a_release_put_together_in_another_way_is_imported_whole(tmp_path: Path) -> None:
    package = tmp_path / "torchmetrics"
    package.mkdir()
    (package / "__init__.py").write_text("class Metric: ...\n")
    assert told("postpone(); import torchmetrics; print(torchmetrics.Metric.__name__)", tmp_path) == "Metric"
