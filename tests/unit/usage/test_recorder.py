from __future__ import annotations

import logging
import threading
from pathlib import Path

import pytest
from usage_cases import piece

from nimble_lightning.usage.clock import OTHER, STEP, Clock
from nimble_lightning.usage.energy import Energy
from nimble_lightning.usage.rank_record import pieces
from nimble_lightning.usage.recorder import UsageRecorder


def test_it_writes_while_it_runs_and_once_more_at_the_end(tmp_path: Path) -> None:
    written, clock = threading.Event(), Clock(age=5.0)
    recorder = UsageRecorder(tmp_path, piece(), clock, Energy(), after=written.set)
    recorder.start()
    assert written.wait(10)
    clock.switch(STEP)
    clock.switch(OTHER)
    recorder.stop()
    (last,) = pieces(tmp_path)
    assert last.state == OTHER
    assert last.length == pytest.approx(5.0, abs=3.0)
    assert not recorder.running


def test_what_is_looked_at_is_what_is_written(tmp_path: Path) -> None:
    own = piece(samples=0)

    def look() -> None:
        own.samples += 7

    UsageRecorder(tmp_path, own, Clock(), Energy(), look=look).flush()
    assert pieces(tmp_path)[0].samples == 7


def test_it_goes_on_after_a_stop(tmp_path: Path) -> None:
    recorder = UsageRecorder(tmp_path, piece(), Clock(), Energy())
    for _ in range(2):
        recorder.start()
        recorder.start()
        recorder.stop()
        recorder.stop()
    assert len(pieces(tmp_path)) == 1


def test_a_full_disk_costs_one_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "usage").write_text("in the way of the folder")
    recorder = UsageRecorder(tmp_path, piece(), Clock(), Energy())
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            recorder.flush()
    assert len(caplog.records) == 1
    assert "the run goes on" in caplog.text
