"""`nimble-cli runs`, `tail`, `stop` on a run that goes on, and after it was killed."""

from __future__ import annotations

from pathlib import Path

import pytest
from external_launchers import until
from forked_command import Command

from nimble_lightning.commands import main
from nimble_lightning.ops.run_files import read_json

FOLDER = Path("outputs/tiny/first")
WORDS = (
    "trainer=nimble_lightning.testing.tiny:TinyTrainer",
    "name=tiny",
    "run_id=first",
    "params.step_seconds=0.05",
    "lightning.max_steps=2000",
    "lightning.max_epochs=-1",
    "lightning.accelerator=cpu",
)


@pytest.fixture
def command() -> Command:
    started = Command(*WORDS)
    until(lambda: (FOLDER / "metrics.jsonl").exists())
    return started


def said(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    assert main.main(list(map(str, words))) == 0
    return capsys.readouterr().out


def test_a_run_is_stopped_by_its_folder_and_what_was_told_is_its_log(
    command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "running" in said(capsys, "runs")
    assert "stopped by SIGTERM" in said(capsys, "stop", FOLDER)
    assert command.end().returncode == 143
    record = read_json(FOLDER / "run.json")
    assert record["status"] == "stopped"
    assert list((FOLDER / "checkpoints").rglob("*.ckpt")), "it has committed"
    shown = said(capsys, "tail", FOLDER)
    assert shown.splitlines()[-1] == f"{FOLDER}: stopped"
    assert "step" in shown


def test_a_run_whose_processes_are_gone_is_said_to_be_interrupted(
    command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    command.kill()
    until(lambda: "interrupted" in said(capsys, "runs"))
