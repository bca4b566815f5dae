"""One Lightning under both names, in a process of its own."""

from __future__ import annotations

import subprocess
import sys

import pytest

CODE = """
import sys
from nimble_lightning.adapters.lightning_alias import alias_lightning

{before}
alias_lightning()
import lightning.pytorch as L
import pytorch_lightning as pl
from pytorch_lightning.callbacks import Timer
from lightning_fabric.utilities.seed import seed_everything as seed

print(pl is L, L.callbacks.Timer is Timer, seed.__module__, L.__spec__.name)
"""


def told(before: str = "") -> list[str]:
    code = CODE.format(before=before)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_both_names_mean_the_same_modules() -> None:
    assert told() == ["True", "True", "lightning.fabric.utilities.seed", "lightning.pytorch"]


@pytest.mark.slow
def test_a_package_that_was_imported_before_is_left_alone() -> None:
    assert told("import lightning_fabric")[:2] == ["False", "False"]
