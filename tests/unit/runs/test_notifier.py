"""The command in a message is one that continues the run, and shows no address."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from nimble_lightning.errors import RequestError
from nimble_lightning.notifications import events
from nimble_lightning.notifications.services import VARIABLE
from nimble_lightning.runs.job import Job
from nimble_lightning.runs.notifier import resume_command, tell_sweep, telling


def job(tmp_path: Path, **config: object) -> Job:
    return Job.from_config(OmegaConf.create(config), trainer="x.py:X", folder=tmp_path / "night")


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        (
            ["/usr/bin/python3", "-m", "nimble_lightning", "trainer=x.py"],
            "python3 -m nimble_lightning trainer=x.py run_id=night",
        ),
        (["python", "/bin/nimble-cli", "train", "x.py", "run_id=a"], "nimble-cli train x.py run_id=a"),
        (
            ["python", "-m", "nimble_lightning", "-m", "params.lr=1,2"],
            "python -m nimble_lightning -m params.lr=1,2",
        ),
        (
            ["python", "/bin/nimble-cli", "train", "x.py", "--notification", "secret:NIMBLE_NOTIFICATION_1"],
            "nimble-cli train x.py --notification ADDRESS run_id=night",
        ),
        (["python", "my script.py"], "python 'my script.py'  (with run_id='night')"),
        (["python", "-c", "import x"], "the same command again, with run_id=night"),
    ],
)
def test_it_is_what_was_typed_and_the_name_of_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, typed: list[str], told: str
) -> None:
    monkeypatch.setattr(sys, "orig_argv", typed)
    assert resume_command(job(tmp_path, run_id="night")) == told


def test_without_the_callback_nothing_is_started_and_no_sweep_told(tmp_path: Path) -> None:
    with telling(job(tmp_path)):
        pass
    tell_sweep(tmp_path, OmegaConf.create({"callbacks": {"notification": None}}), name="x")
    assert list(tmp_path.iterdir()) == []


def test_nobody_to_tell_is_said_and_no_reason_to_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    with telling(job(tmp_path, callbacks={"notification": {"urls": None}, "other": None})):
        assert "nobody is told" in caplog.text
    assert list(events.read(tmp_path / "night")) == []


def test_an_address_that_is_wrong_refuses_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOOK", "tgram://nonsense")
    asked = job(tmp_path, callbacks={"notification": {"urls": ["secret:HOOK"]}})
    with pytest.raises(RequestError, match="not what Telegram expects"), telling(asked):
        pytest.fail("it was started")
