"""Runs that end with a verdict: in this process, and as commands."""

from __future__ import annotations

import json
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

from forked_command import run

import nimble_lightning as nl
from nimble_lightning.testing import TinyTrainer

QUIET: dict[str, Any] = {
    "lightning": {"max_epochs": 2, "accelerator": "cpu"},
    "callbacks": {"progress": None},
    "launch": "inline",
}


OURS = "nimble_lightning.validators."


def trained(
    trainer: Any = TinyTrainer, *, params: dict[str, Any] | None = None, **settings: Any
) -> nl.Result:
    return nl.run(trainer, params=params, check=False, **{**QUIET, **settings})


def command(*words: str) -> CompletedProcess[str]:
    fixed = ["trainer=nimble_lightning.testing.tiny:TinyTrainer", "lightning.accelerator=cpu", "run_id=r"]
    return run(*fixed, "lightning.max_epochs=2", "callbacks.progress=null", *words)


def record(folder: str = "outputs/TinyTrainer/r") -> dict[str, Any]:
    return json.loads((Path(folder) / "run.json").read_text())  # type: ignore[no-any-return]
