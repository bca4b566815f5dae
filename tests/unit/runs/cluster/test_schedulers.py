"""What a run asks of a scheduler, whichever it is."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path

import pytest
from typing_extensions import override

from nimble_lightning.errors import RequestError
from nimble_lightning.run_folder import RunFolder
from nimble_lightning.runs.cluster import schedulers
from nimble_lightning.runs.cluster.job_environment import JobEnvironment
from nimble_lightning.runs.lock import RunLock
from nimble_lightning.runs.record import Record
from nimble_lightning.supervision.stop_request import Stop

JOB = "SOME_SCHEDULERS_JOB"


class Other(JobEnvironment):
    """The next scheduler."""

    name = "Other"
    key = "other_job"

    @property
    @override
    def job_id(self) -> str | None:
        return os.environ.get(JOB)

    @override
    def comes_back(self) -> bool:
        return True

    @override
    def asked_command(self, folder: RunFolder) -> str | None:
        return "other submit"

    @override
    def is_over(self, job: str) -> bool:
        return job == "gone"


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schedulers, "KNOWN", (*schedulers.KNOWN, Other()))


@pytest.fixture
def in_job(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(JOB, "7")


def test_outside_of_all_jobs_nothing_is_noted_and_nothing_comes_back(tmp_path: Path) -> None:
    assert schedulers.current() is None
    assert schedulers.note() == {}
    assert not schedulers.begun([{"number": 1}])


@pytest.mark.usefixtures("in_job")
def test_each_attempt_says_which_job_it_was_in(tmp_path: Path) -> None:
    record = Record(RunFolder(tmp_path), "some")
    record.begin(None, 0)
    assert record.attempts[0]["other_job"] == "7"
    assert schedulers.begun(record.attempts)
    assert not schedulers.begun([{**record.attempts[0], "other_job": "6"}])


@pytest.mark.usefixtures("in_job")
def test_a_signal_to_a_job_that_comes_back_is_a_preemption() -> None:
    stop = Stop(None)
    stop.hear(signal.SIGTERM)
    assert stop.wanted()
    assert (stop.reason, stop.cause) == ("preempted: Other starts it again", "preempted")


@pytest.mark.parametrize("job", ["gone", "here"])
def test_the_lock_of_a_job_that_is_over_is_broken(tmp_path: Path, job: str) -> None:
    file = tmp_path / "run.lock"
    file.write_text(f'{{"pid": 1, "host": "not-{socket.gethostname()}", "other_job": "{job}"}}')
    if job == "gone":
        with RunLock(file):
            pass
    else:
        with pytest.raises(RequestError, match="belongs to process 1"), RunLock(file):
            pass
