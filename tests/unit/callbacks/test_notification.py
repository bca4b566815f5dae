"""The callback writes down what people want to know, and does nothing in a step."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path

import lightning as L
import pytest
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.demos.boring_classes import BoringDataModule, BoringModel
from pytest_httpserver import HTTPServer

from nimble_lightning.callbacks import Notification
from nimble_lightning.errors import RequestError
from nimble_lightning.notifications import events
from nimble_lightning.notifications.sender_process import COALESCE, LINGER
from nimble_lightning.notifications.services import VARIABLE
from nimble_lightning.ops import secrets


@pytest.fixture(autouse=True)
def nobody_else(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setenv(LINGER, "10")
    monkeypatch.setenv(COALESCE, "0")
    yield
    secrets.forget()


class Better(BoringModel):
    """Its loss falls with every validation, or as it is told."""

    def __init__(self, losses: tuple[float, ...] = (3.0, 2.0, 1.0)) -> None:
        super().__init__()
        self.losses = iter(losses)

    def validation_step(self, batch, batch_idx):
        if batch_idx == 0:
            self.log("val_loss", next(self.losses))


def fit(
    folder: Path, callback: Notification, model: BoringModel | None = None, **options: object
) -> L.Trainer:
    quiet = {"logger": False, "enable_model_summary": False, "enable_progress_bar": False}
    few = {"limit_train_batches": 8, "limit_val_batches": 1, "num_sanity_val_steps": 0, "max_epochs": 3}
    extra, resumed = options.pop("callbacks", []), options.pop("ckpt_path", None)
    trainer = L.Trainer(
        default_root_dir=folder,
        accelerator="cpu",
        callbacks=[callback, *extra],
        enable_checkpointing=bool(extra),
        **{**quiet, **few, **options},
    )
    trainer.fit(model or Better(), datamodule=BoringDataModule(), ckpt_path=resumed)
    return trainer


def kinds(folder: Path) -> list[str]:
    return [event.kind for event in events.read(folder)]


def test_alone_it_tells_begin_bests_milestones_and_end(tmp_path: Path) -> None:
    fit(tmp_path, Notification(milestone="50%"))
    assert kinds(tmp_path) == ["started", "best", "milestone", "best", "best", "finished"]
    told = {event.kind: event.facts for event in events.read(tmp_path)}
    assert told["milestone"]["milestone"] == "50 %"
    assert (told["milestone"]["step"], told["milestone"]["total_steps"]) == (12, 24)
    assert told["milestone"]["eta_seconds"] > 0
    assert told["best"] | {"monitor": "val_loss", "best": 1.0} == told["best"]
    assert told["finished"]["metrics"]["val_loss"] == 1.0
    assert told["finished"]["name"] == "Better"


def test_the_time_left_of_a_resumed_fit_goes_by_what_this_start_has_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twelve of its 24 steps were done before; a clock goes on by a second for each of the others."""
    saved = tmp_path / "saved.ckpt"
    fit(tmp_path / "before", Notification(milestone=None), max_steps=12).save_checkpoint(saved)
    now = [1000.0]
    monkeypatch.setattr("nimble_lightning.callbacks.notification.time.time", lambda: now[0])

    class Second(Better):
        def on_train_batch_end(self, *_: object) -> None:
            now[0] += 1.0

    fit(tmp_path, Notification(milestone="75%"), Second(), ckpt_path=saved)
    (told,) = (event.facts for event in events.read(tmp_path) if event.kind == "milestone")
    assert (told["step"], told["total_steps"]) == (18, 24)
    assert told["eta_seconds"] == pytest.approx(6.0)


def test_in_a_run_of_ours_it_leaves_begin_and_end_to_whoever_runs_it(tmp_path: Path) -> None:
    (tmp_path / "job.yaml").touch()
    fit(tmp_path, Notification(milestone=None))
    assert kinds(tmp_path) == ["best", "best", "best"]
    assert not (tmp_path / "outbox" / "sender.log").exists()


def test_only_what_is_better_is_a_new_best(tmp_path: Path) -> None:
    fit(tmp_path, Notification(milestone=None), Better((2.0, 3.0, 1.0)))
    assert kinds(tmp_path) == ["started", "best", "best", "finished"]


def test_what_a_checkpoint_calls_best_is_best(tmp_path: Path) -> None:
    checkpoint = ModelCheckpoint(tmp_path / "best", monitor="val_loss", mode="max")
    fit(tmp_path, Notification(milestone=None), Better((1.0, 3.0, 2.0)), callbacks=[checkpoint])
    best = [event.facts["best"] for event in events.read(tmp_path) if event.kind == "best"]
    assert best == [1.0, 3.0]


def test_a_best_of_before_a_restart_is_not_told_again(tmp_path: Path) -> None:
    notification = Notification(milestone=None)
    fit(tmp_path / "first", notification, Better((1.0, 2.0, 3.0)))
    again = Notification(milestone=None)
    again.load_state_dict(notification.state_dict())
    fit(tmp_path / "second", again, Better((2.0, 1.0, 0.5)))
    assert kinds(tmp_path / "second") == ["started", "best", "finished"]


def test_epochs_and_minutes_are_milestones_too(tmp_path: Path) -> None:
    fit(tmp_path / "epochs", Notification(milestone="1 epoch"))
    assert kinds(tmp_path / "epochs").count("milestone") == 2
    fit(tmp_path / "time", Notification(milestone="0.000001s"))
    assert kinds(tmp_path / "time").count("milestone") == 24


def test_an_error_is_told_and_stays_the_error(tmp_path: Path) -> None:
    class Fails(Better):
        def training_step(self, batch, batch_idx):
            raise ZeroDivisionError("no such number")

    with pytest.raises(ZeroDivisionError, match="no such number"):
        fit(tmp_path, Notification(), Fails())
    last = list(events.read(tmp_path))[-1]
    assert (last.kind, last.facts["rank"], last.facts["step"]) == ("failed", 0, 0)
    assert last.facts["reason"] == "ZeroDivisionError: no such number"
    assert "raise ZeroDivisionError" in last.facts["trace"]


def test_a_trial_run_tells_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "json://127.0.0.1:1/")
    fit(tmp_path, Notification(), fast_dev_run=True)
    assert not list(tmp_path.rglob("*"))


def test_nobody_to_tell_is_said_in_one_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    fit(tmp_path, Notification())
    said = [r.getMessage() for r in caplog.records if "nobody is told" in r.getMessage()]
    assert len(said) == 1
    assert VARIABLE in said[0]


@pytest.mark.parametrize("arguments", [{"milestone": "often"}, {"linger": "ever"}])
def test_arguments_that_mean_nothing_are_refused_at_once(arguments: dict[str, str]) -> None:
    with pytest.raises(RequestError):
        Notification(**arguments)


@pytest.mark.parametrize(
    "arguments", [{"urls": "nosuch://x"}, {"events": ["faild"]}, {"templates": "nowhere"}]
)
def test_what_cannot_be_told_is_refused_before_training(tmp_path: Path, arguments: dict[str, object]) -> None:
    with pytest.raises(RequestError):
        fit(tmp_path, Notification(**arguments))
    assert kinds(tmp_path) == []


def test_a_disk_that_takes_nothing_does_not_matter(tmp_path: Path) -> None:
    (tmp_path / "outbox").write_text("in the way")
    trainer = fit(tmp_path, Notification("json://127.0.0.1:1/"))
    assert trainer.state.finished


def test_what_is_told_arrives_after_two_fits_too(tmp_path: Path, httpserver: HTTPServer) -> None:
    httpserver.expect_request("/hook").respond_with_data("")
    notification = Notification([f"json://127.0.0.1:{httpserver.port}/hook"], milestone=None, pictures=False)
    trainer = fit(tmp_path, notification, Better((2.0,) * 9), limit_val_batches=0)
    trainer.fit_loop.max_epochs = 4
    trainer.fit(Better(), datamodule=BoringDataModule())
    until = time.monotonic() + 30
    while (arrived := numbers_in(httpserver)) != {1, 2, 3, 4} and time.monotonic() < until:
        time.sleep(0.05)
    assert arrived == {1, 2, 3, 4}


def numbers_in(server: HTTPServer) -> set[int]:
    """The numbers of the events that the messages speak of."""
    footers = [json.loads(request.data)["message"].splitlines()[-1] for request, _ in server.log]
    return {int(number) for footer in footers for number in re.findall(r"#(\d+)", footer)}
