"""Reporting callbacks agree on one folder, in a run of ours and in anybody's project."""

from __future__ import annotations

from pathlib import Path

import lightning as L
import pytest
from lightning.pytorch.loggers import CSVLogger

from nimble_lightning.callbacks._output_folder import place, tell
from nimble_lightning.notifications import events
from nimble_lightning.ops.process_environment import RUN


def trainer(folder: Path, **options: object) -> L.Trainer:
    quiet = {"logger": False, "enable_model_summary": False, "enable_progress_bar": False}
    return L.Trainer(default_root_dir=folder, accelerator="cpu", **{**quiet, **options})


def test_a_run_has_its_own_folder_whatever_the_logger(tmp_path: Path) -> None:
    (tmp_path / "job.yaml").touch()
    assert place(trainer(tmp_path, logger=CSVLogger(tmp_path / "logs"))) == tmp_path


def test_elsewhere_it_is_where_the_logger_writes(tmp_path: Path) -> None:
    logger = CSVLogger(tmp_path / "logs")
    assert place(trainer(tmp_path, logger=logger)) == Path(logger.log_dir)


def test_without_a_logger_it_is_the_folder_of_the_trainer(tmp_path: Path) -> None:
    assert place(trainer(tmp_path)) == tmp_path


def test_a_script_started_again_comes_back_to_the_same_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(RUN, "a-run")
    first = place(trainer(tmp_path, logger=CSVLogger(tmp_path / "logs", version=0)))
    again = place(trainer(tmp_path, logger=CSVLogger(tmp_path / "logs", version=1)))
    assert first == again == tmp_path / "nimble" / "a-run"


def test_nothing_is_written_where_nobody_asked_for_a_place(tmp_path: Path) -> None:
    tell(trainer(tmp_path), "rollback")
    assert not list(tmp_path.iterdir())


def test_what_is_told_lies_in_the_outbox(tmp_path: Path) -> None:
    telling = trainer(tmp_path)
    tell_from = place(telling)
    tell(telling, "rollback", reason="the gradient is nan")
    (event,) = events.read(tell_from)
    assert event.kind == "rollback"
    assert event.facts == {"step": 0, "epoch": 0, "reason": "the gradient is nan"}


def test_a_trial_run_tells_nothing(tmp_path: Path) -> None:
    trial = trainer(tmp_path, fast_dev_run=True)
    place(trial)
    tell(trial, "best")
    assert not list(tmp_path.glob("**/events.jsonl"))
