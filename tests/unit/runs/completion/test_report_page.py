"""The page is kept up to date while a run goes on, and never costs it anything."""

from __future__ import annotations

import logging
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from nimble_lightning.ops.run_files import write_json
from nimble_lightning.run_folder import RunFolder
from nimble_lightning.runs.completion import report_page
from nimble_lightning.runs.job import Job


def job(**settings: Any) -> Job:
    folder = RunFolder(Path("digits/first"))
    folder.create()
    write_json(folder.run, {"run_id": "first", "status": "running"})
    return Job(OmegaConf.create(settings), folder, "first")


def page(of: Job) -> Path:
    return of.folder.path / "report.html"


def wait_for(path: Path) -> None:
    until = time.monotonic() + 20
    while not path.exists() and time.monotonic() < until:
        time.sleep(0.01)


@pytest.mark.parametrize(("asked", "seconds"), [(True, 30.0), (False, None), (None, None), (90, 90.0)])
def test_the_setting_says_how_often(asked: Any, seconds: float | None) -> None:
    assert report_page.wanted(job(report=asked)) == seconds


def test_it_is_on_unless_somebody_turns_it_off() -> None:
    assert report_page.wanted(job()) == report_page.INTERVAL


def test_pages_are_written_again_and_again_until_the_run_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report_page, "SHARE", 1e9)
    running = job(report=0.01)
    with report_page.meanwhile(running):
        for _ in range(2):
            wait_for(page(running))
            page(running).unlink()
        wait_for(page(running))
    assert page(running).exists()
    assert not [thread for thread in threading.enumerate() if thread.name == "report"]


def test_a_page_that_takes_long_is_written_less_often(monkeypatch: pytest.MonkeyPatch) -> None:
    written = threading.Semaphore(0)
    waits: list[float] = []

    def work(of: Job) -> bool:
        busy = time.thread_time() + 0.05
        while time.thread_time() < busy:
            pass
        written.release()
        return True

    class Over(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            waits.append(timeout or 0.0)
            return len(waits) > 2

    monkeypatch.setattr(report_page, "write", work)
    refresher = report_page.Refresher(job(), 1.0)
    refresher._over = Over()
    refresher.start()
    refresher.stop()
    assert waits[0] == 1.0
    assert all(wait >= 0.05 / report_page.SHARE for wait in waits[1:])


def test_the_last_page_is_that_of_the_end() -> None:
    ended = job()
    write_json(ended.folder.run, {"run_id": "first", "status": "finished"})
    report_page.complete(ended)
    assert "finished" in page(ended).read_text()
    off = job(report=False)
    page(off).unlink()
    report_page.complete(off)
    assert not page(off).exists()


def test_a_page_that_cannot_be_written_costs_one_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    failing = job(report=0.01)
    page(failing).mkdir()
    with caplog.at_level(logging.WARNING), report_page.meanwhile(failing):
        until = time.monotonic() + 20
        while not caplog.records and time.monotonic() < until:
            time.sleep(0.01)
    assert len(caplog.records) == 1
    assert "the page could not be written" in caplog.text
    assert [path.name for path in failing.folder.path.glob(".report*")] == []
