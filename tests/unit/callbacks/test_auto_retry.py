"""Alone in a project: commits, an end when asked for one, and nothing left behind."""

from __future__ import annotations

import contextlib
import itertools
import json
import logging
import os
import signal
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.demos.boring_classes import BoringModel, RandomDataset
from lightning.pytorch.strategies import SingleDeviceStrategy
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch.utils.data import DataLoader

from nimble_lightning.callbacks import AutoRetry
from nimble_lightning.callbacks.auto_retry import OutOfTime
from nimble_lightning.checkpoint import (
    AsyncNimbleCheckpointIO,
    NimbleCheckpointIO,
    fault_points,
    newest_whole,
)
from nimble_lightning.commands.retry import Retry
from nimble_lightning.errors import RequestError
from nimble_lightning.ops.process_environment import NOTES, RUN
from nimble_lightning.ops.signals import asked
from nimble_lightning.supervision.retry_policy import RetryPolicy

BATCHES = 12


class Model(BoringModel):
    """Does something of its own in the training step of a batch."""

    def __init__(self, happens: dict[int, Callable[[], Any]] | None = None) -> None:
        super().__init__()
        self.happens = happens or {}
        self.trained: list[int] = []

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> Any:
        self.trained.append(batch_idx)
        self.happens.get(batch_idx, lambda: None)()
        return super().training_step(batch, batch_idx)

    def train_dataloader(self) -> Any:
        return DataLoader(RandomDataset(32, BATCHES))


def trainer_with(callback: AutoRetry, **options: Any) -> L.Trainer:
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    few = {"accelerator": "cpu", "max_epochs": 1, "limit_val_batches": 0, "enable_checkpointing": False}
    return L.Trainer(
        **{**quiet, **few, "plugins": [NimbleCheckpointIO()], "callbacks": [callback], **options}
    )


def every(steps: int | None = None, **more: Any) -> AutoRetry:
    return AutoRetry(save_every_n_steps=steps, save_every_minutes=None, save_every_epoch=False, **more)


def committed() -> list[int]:
    return sorted(int(p.stem.removeprefix("step-")) for p in Path("checkpoints/steps").glob("*.ckpt"))


def terminate() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def test_it_commits_as_often_as_asked_and_keeps_the_two_newest() -> None:
    trainer_with(every(5)).fit(Model())
    assert committed() == [10, 12]
    found = newest_whole(Path("checkpoints/steps"))
    assert found is not None
    assert found.manifest.step == 12


def test_what_an_earlier_run_committed_is_left_alone_and_counts_for_nothing() -> None:
    trainer_with(every(4)).fit(Model())
    trainer_with(every(2), limit_train_batches=6).fit(Model())
    assert committed() == [4, 6, 8, 12], "8 and 12 are the earlier run's, 4 and 6 the newest of this one"


def test_an_error_leaves_the_last_commit_and_a_file_that_tells_of_it() -> None:
    def fail() -> None:
        raise ZeroDivisionError("by the seventh")

    with pytest.raises(ZeroDivisionError):
        trainer_with(every(4)).fit(Model({7: fail}))
    assert committed() == [4]
    told = json.loads(Path("errors/rank-0.json").read_text())
    assert (told["type"], told["message"], told["step"]) == ("ZeroDivisionError", "by the seventh", 7)
    assert "by the seventh" in told["traceback"]


def test_an_error_stays_the_users_where_nothing_can_be_written() -> None:
    def fail() -> None:
        Path("errors").write_text("in the way")
        raise ZeroDivisionError("the real one")

    with pytest.raises(ZeroDivisionError, match="the real one"):
        trainer_with(every()).fit(Model({3: fail}))


def test_sigterm_commits_the_step_that_is_under_way_and_ends_with_143() -> None:
    model = Model({6: terminate})
    with pytest.raises(SIGTERMException) as caught:
        trainer_with(every()).fit(model)
    assert caught.value.code == 143
    assert committed() == [7]
    assert model.trained[-1] == 6


def test_in_a_folder_that_is_elsewhere_nothing_is_committed_and_that_is_said(
    caplog: pytest.LogCaptureFixture,
) -> None:
    trainer = trainer_with(every(2), default_root_dir="memory://there", plugins=[])
    trainer.fit(Model())
    assert trainer.global_step == BATCHES
    assert caplog.text.count("default_root_dir=memory://there is no folder of this machine") == 1
    assert not list(Path.cwd().iterdir())


@pytest.mark.filterwarnings("ignore::lightning_fabric.utilities.warnings.PossibleUserWarning")
@pytest.mark.parametrize("package", ["lightning.pytorch", "pytorch_lightning"])
def test_a_script_that_is_started_again_goes_on_at_the_newest_commit(
    package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(RUN, "some-run")
    monkeypatch.setenv(NOTES, str(tmp_path))
    boring = import_module(f"{package}.demos.boring_classes")
    starts: list[int] = []

    class Theirs(boring.BoringModel):
        def on_train_start(self) -> None:
            starts.append(self.trainer.global_step)

        def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
            if batch_idx == 7 and len(starts) == 1:
                raise ZeroDivisionError

    def script() -> None:
        """With every start it counts its fits anew."""
        monkeypatch.setattr("nimble_lightning.callbacks._under_retry._fits", itertools.count(1))
        trainer = import_module(package).Trainer(
            callbacks=[every(3)],
            accelerator="cpu",
            max_epochs=1,
            limit_train_batches=BATCHES,
            enable_checkpointing=False,
            logger=False,
        )
        trainer.fit(Theirs())

    with pytest.raises(ZeroDivisionError):
        script()
    policy = RetryPolicy(max_retries=1)
    assert Retry(["true"], policy, "some-run", tmp_path)._from_where() == ", from step 6"
    script()
    assert starts == [0, 6]
    assert len(list(Path("checkpoints/some-run.1").glob("*.ckpt"))) == 2, "older ones are cleared away"


def test_what_cannot_be_saved_safely_costs_the_commits_and_not_the_training(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Holds(Model):
        def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
            checkpoint["of_theirs"] = Path("an object")

    trainer = trainer_with(every(2))
    trainer.fit(Holds())
    assert trainer.global_step == BATCHES
    assert caplog.text.count("nothing of this run is committed, so a retry begins anew") == 1
    assert committed() == []


def test_while_gradients_accumulate_the_end_waits_for_the_step() -> None:
    model = Model({5: terminate})
    with pytest.raises(SIGTERMException):
        trainer_with(every(), accumulate_grad_batches=4).fit(model)
    assert model.trained[-1] == 7
    assert committed() == [2]


def test_what_was_committed_on_sigterm_continues_to_the_same_end() -> None:
    with pytest.raises(SIGTERMException):
        trainer_with(every()).fit(Model({6: terminate}))
    resumed = trainer_with(every())
    resumed.fit(Model(), ckpt_path="checkpoints/steps/step-00000007.ckpt", weights_only=True)
    assert resumed.global_step == BATCHES


def test_a_file_or_a_signal_asks_for_a_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nimble_lightning.callbacks.auto_retry._LOOK_EVERY_SECONDS", 0.0)
    happens = {3: lambda: Path("save_now").touch(), 7: lambda: os.kill(os.getpid(), signal.SIGUSR1)}
    trainer_with(every(), max_steps=10).fit(Model(happens))
    assert not Path("save_now").exists()
    assert committed() == [8, 10], "of 4, 8 and 10 the two newest"


def test_the_end_of_its_time_is_a_commit_and_a_stop() -> None:
    model = Model({3: lambda: time.sleep(0.3)})
    with pytest.raises(OutOfTime, match="max_time_per_run"):
        trainer_with(every(max_time_per_run=0.25)).fit(model)
    assert committed() == [len(model.trained)]
    assert len(model.trained) < BATCHES


def test_a_handler_of_the_project_is_called_and_is_there_again_after_a_fit_and_an_error() -> None:
    heard: list[int] = []

    def mine(number: int, frame: object) -> None:
        heard.append(number)

    def fail() -> None:
        raise ZeroDivisionError

    before = signal.signal(signal.SIGTERM, mine)
    try:
        trainer_with(every()).fit(Model())
        assert signal.getsignal(signal.SIGTERM) is mine
        with pytest.raises(ZeroDivisionError):
            trainer_with(every()).fit(Model({2: fail}))
        assert signal.getsignal(signal.SIGTERM) is mine
        with pytest.raises(SIGTERMException):
            trainer_with(every()).fit(Model({2: terminate}))
        assert signal.getsignal(signal.SIGTERM) is mine
    finally:
        signal.signal(signal.SIGTERM, before)
    assert heard == [signal.SIGTERM]
    assert signal.getsignal(signal.SIGUSR1) == signal.SIG_DFL


@pytest.mark.parametrize("ends_well", [True, False])
def test_lightning_asks_all_ranks_for_a_signal_only_where_its_own_handler_hears_it(ends_well: bool) -> None:
    trainer, spared = trainer_with(every(5)), []

    def look() -> None:
        spared.append("_broadcast_sigterm_tensor" in vars(trainer.fit_loop.epoch_loop))
        if not ends_well:
            raise RuntimeError("boom")

    with contextlib.suppress(RuntimeError):
        trainer.fit(Model({3: look}))
    assert spared == [True]
    assert "_broadcast_sigterm_tensor" not in vars(trainer.fit_loop.epoch_loop)


def test_a_handler_for_sigusr1_is_left_to_its_owner() -> None:
    heard: list[int] = []
    before = signal.signal(signal.SIGUSR1, lambda number, frame: heard.append(number))
    try:
        trainer_with(every()).fit(Model({2: lambda: os.kill(os.getpid(), signal.SIGUSR1)}))
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert heard == [signal.SIGUSR1]


def test_a_stop_of_an_earlier_fit_does_not_stop_the_next() -> None:
    with pytest.raises(SIGTERMException):
        trainer_with(every()).fit(Model({2: terminate}))
    second = trainer_with(every())
    second.fit(Model())
    assert second.global_step == BATCHES


def test_a_save_that_fails_is_an_alert_and_training_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    Path("checkpoints").write_text("in the way")
    trainer = trainer_with(every(5))
    with caplog.at_level(logging.ERROR):
        trainer.fit(Model())
    assert trainer.global_step == BATCHES
    assert "step 5 could not be saved" in caplog.text


@pytest.mark.parametrize("stage", ["fsync", "prune"])
def test_whatever_fails_on_the_first_rank_the_others_are_met_as_often_as_without_it(
    stage: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rank that waits once too often, or once too few, is a hang."""
    met: list[int] = []
    monkeypatch.setattr(SingleDeviceStrategy, "barrier", lambda self, name=None: met.append(1))

    def full(reached: str) -> None:
        if reached == stage:
            raise OSError(5, "Input/output error")

    meetings = []
    for hook in (None, full):
        met.clear()
        before = fault_points.set_hook(hook)
        try:
            with caplog.at_level(logging.ERROR):
                trainer_with(every(3), default_root_dir=str(hook)).fit(Model())
        finally:
            fault_points.set_hook(before)
        meetings.append(len(met))
    # A save that fails in the middle comes to the meeting at its end all the same.
    assert meetings[0] == meetings[1]
    assert "training goes on: [Errno 5]" in caplog.text


def test_where_no_plugin_was_chosen_its_commits_are_whole_and_the_projects_own_saves_as_they_were() -> None:
    trainer = trainer_with(every(3), plugins=[])
    theirs = trainer.strategy.checkpoint_io
    trainer.fit(Model({8: lambda: trainer.save_checkpoint("mine.ckpt")}))
    assert committed() == [9, 12]
    found = newest_whole("checkpoints/steps")
    assert found is not None
    assert found.manifest.step == 12
    assert trainer.strategy.checkpoint_io is theirs
    assert not Path("mine.ckpt.manifest.json").exists()
    trainer_with(every(3), plugins=[], max_epochs=2).fit(Model(), ckpt_path=found.path, weights_only=True)


def test_a_save_in_the_background_that_fails_is_an_alert_too(caplog: pytest.LogCaptureFixture) -> None:
    def full(stage: str) -> None:
        if stage == "fsync" and not any("could not" in r.message for r in caplog.records):
            raise OSError(28, "No space left on device")

    before = fault_points.set_hook(full)
    try:
        with caplog.at_level(logging.ERROR):
            trainer = trainer_with(every(3), plugins=[AsyncNimbleCheckpointIO()])
            trainer.fit(Model({i: lambda: time.sleep(0.05) for i in range(BATCHES)}))
    finally:
        fault_points.set_hook(before)
    assert trainer.global_step == BATCHES
    assert "No space left on device" in caplog.text
    found = newest_whole("checkpoints/steps")
    assert found is not None
    assert found.manifest.step == BATCHES


def test_a_trial_run_leaves_nothing() -> None:
    trainer_with(every(1), fast_dev_run=4).fit(Model({3: terminate}))
    assert not any(Path().iterdir())


@pytest.mark.parametrize(
    "wrong", [{"save_every_n_steps": 0}, {"max_time": "soon"}, {"max_time_per_run": "-1"}]
)
def test_a_setting_that_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(RequestError, match=next(iter(wrong))):
        AutoRetry(**wrong)


def test_a_supervised_process_ends_at_once_where_nothing_could_be_committed() -> None:
    before = signal.getsignal(signal.SIGTERM)
    try:
        asked.obey()
        with pytest.raises(SystemExit) as caught:
            terminate()
        assert caught.value.code == 143
    finally:
        asked.supervised = False
        signal.signal(signal.SIGTERM, before)
