"""Every callback where nothing was prepared for it: another command line, a full disk, no `setup`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import lightning as L
import pytest
from lightning.pytorch.callbacks import Checkpoint, ProgressBar
from lightning.pytorch.cli import LightningCLI
from lightning.pytorch.demos.boring_classes import BoringDataModule, BoringModel

import nimble_lightning.callbacks as ours

# Saving is what these are there for: where nothing can be saved, they cannot do as if it had been.
SAVERS = {name for name in ours.__all__ if issubclass(getattr(ours, name), Checkpoint)}
QUIET = {"logger": False, "enable_model_summary": False, "accelerator": "cpu", "enable_checkpointing": False}


# Lightning uses jsonargparse in a way that jsonargparse is about to drop.
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ours.__all__)
def test_it_can_be_named_in_the_yaml_of_lightnings_command_line(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(f"trainer:\n  callbacks:\n    - class_path: nimble_lightning.callbacks.{name}\n")
    monkeypatch.setattr(sys, "argv", ["train.py", "--config", str(config)])
    command = LightningCLI(
        BoringModel,
        BoringDataModule,
        run=False,
        seed_everything_default=False,
        save_config_callback=None,
        trainer_defaults={"accelerator": "cpu", "logger": False},
    )
    assert any(type(callback) is getattr(ours, name) for callback in command.trainer.callbacks)


@pytest.mark.parametrize("name", ours.__all__)
def test_one_that_comes_too_late_for_its_setup_does_no_harm(name: str) -> None:
    class Latecomer(L.Callback):
        def on_fit_start(self, trainer, pl_module):
            trainer.callbacks.append(getattr(ours, name)())

    trainer = L.Trainer(callbacks=[Latecomer()], max_steps=3, limit_val_batches=1, **QUIET)
    trainer.fit(BoringModel(), datamodule=BoringDataModule())
    assert trainer.state.finished
    assert trainer.global_step == 3


def test_with_a_disk_that_is_full_the_run_ends_as_without_it(tmp_path: Path) -> None:
    """The system refuses every byte written to a file, in a process of its own."""
    names = [
        name
        for name in ours.__all__
        # A boring model has no figure that training could be stopped by.
        if name not in (*SAVERS, "EarlyStopping") and not issubclass(getattr(ours, name), ProgressBar)
    ]
    code = f"""
import json, logging, resource, sys
import lightning as L
from lightning.pytorch.demos.boring_classes import BoringDataModule, BoringModel
import nimble_lightning.callbacks as ours

said = []
class Keep(logging.Handler):
    def emit(self, record):
        if record.name.startswith("nimble") and record.levelno >= logging.WARNING:
            said.append(record.getMessage())
logging.getLogger().addHandler(Keep())
resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
for name in {names!r}:
    said.clear()
    trainer = L.Trainer(callbacks=[getattr(ours, name)()], max_epochs=2, limit_train_batches=3, **{QUIET!r})
    trainer.fit(BoringModel(), datamodule=BoringDataModule())
    print("RESULT", json.dumps([name, trainer.global_step, said]), flush=True)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=200, check=False
    )
    rows = [json.loads(line[7:]) for line in done.stdout.splitlines() if line.startswith("RESULT")]
    assert [row[0] for row in rows] == names, done.stderr[-3000:]
    for name, steps, said in rows:
        assert steps == 6, name
        assert len(said) == len(set(said)), f"{name} says the same again and again: {said}"
