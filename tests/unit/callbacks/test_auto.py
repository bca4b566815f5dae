"""What the environment asks for joins any Trainer; without it nothing does."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import Any

import lightning as L
import pytest
from lightning.pytorch.callbacks import LearningRateMonitor, ProgressBar, TQDMProgressBar
from lightning.pytorch.demos.boring_classes import BoringDataModule, BoringModel

import nimble_lightning.callbacks as ours
from nimble_lightning.callbacks import AutoRetry, Notification, Progress
from nimble_lightning.callbacks._auto import VARIABLE, _snake, from_environment
from nimble_lightning.ops.signals import asked


def test_a_trainer_gets_nothing_that_was_not_asked_for() -> None:
    trainer = L.Trainer(logger=False, accelerator="cpu")
    assert not [c for c in trainer.callbacks if type(c).__module__.startswith("nimble_lightning")]


def fitted(**options: Any) -> L.Trainer:
    few = {"max_steps": 1, "limit_val_batches": 0, "enable_model_summary": False}
    off = {"logger": False, "accelerator": "cpu", "enable_checkpointing": False}
    trainer = L.Trainer(**{**few, **off, **options})
    trainer.fit(BoringModel(), datamodule=BoringDataModule())
    return trainer


def test_a_fit_has_the_callbacks_that_the_environment_names_and_one_bar(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(VARIABLE, "progress, auto_retry")
    there = fitted().callbacks
    assert {type(c) for c in there} >= {Progress, AutoRetry}
    assert [type(c) for c in there if isinstance(c, ProgressBar)] == [Progress]


def test_a_bar_that_is_switched_off_or_the_projects_own_stays_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "progress")

    class Theirs(TQDMProgressBar):
        pass

    for options, bars in (({"enable_progress_bar": False}, []), ({"callbacks": [Theirs()]}, [Theirs])):
        there = fitted(**options).callbacks
        assert [type(c) for c in there if isinstance(c, ProgressBar)] == bars


def test_one_list_of_callbacks_serves_two_trainers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "progress, notification, auto_retry")
    shared = [LearningRateMonitor()]
    for _ in range(2):
        trainer = fitted(callbacks=shared, logger=True)
        kinds = [type(c) for c in trainer.callbacks]
        assert [kinds.count(kind) for kind in (Progress, Notification, AutoRetry)] == [1, 1, 1]


def test_both_packages_of_lightning_ask_us() -> None:
    for package in ("lightning.pytorch", "pytorch_lightning"):
        (ours,) = [e for e in entry_points(group=f"{package}.callbacks_factory") if "nimble" in e.value]
        assert ours.load() is from_environment


def test_a_run_of_ours_has_them_from_its_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "progress")
    monkeypatch.setattr(asked, "supervised", True)
    assert from_environment() == []


@pytest.mark.parametrize(
    ("name", "hint"), [("gpu_inof", "did you mean gpu_info?"), ("x", "there are auto_retry")]
)
def test_a_name_nobody_has_is_refused_on_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, hint: str
) -> None:
    monkeypatch.setenv(VARIABLE, name)
    with pytest.raises(SystemExit) as ended:
        L.Trainer(logger=False, accelerator="cpu")
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith(f"error: NIMBLE_AUTO names {name}; {hint}")
    assert said.count("\n") == 1


def test_every_callback_can_be_named_as_its_file() -> None:
    for name in ours.__all__:
        assert getattr(ours, name).__module__ == f"nimble_lightning.callbacks.{_snake(name)}"
