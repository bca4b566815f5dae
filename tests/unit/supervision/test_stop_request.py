"""When a run is to stop, and how patient that is."""

from __future__ import annotations

import os
import signal

import pytest

from nimble_lightning.errors import RequestError
from nimble_lightning.runs.heartbeat import Beat, Phase
from nimble_lightning.settings import RetrySettings
from nimble_lightning.supervision.stop_request import Stop


def beat(phase: Phase) -> dict[int, Beat]:
    return {0: Beat(1, 1, 0.0, 1, phase)}


def test_nothing_asks_for_an_end_by_itself() -> None:
    stop = Stop(RetrySettings(max_time_per_run="1h"))
    assert not stop.wanted()
    assert not stop.impatient(beat(Phase.TRAINING))


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_is_a_wish_with_its_own_exit_code(number: signal.Signals, code: int) -> None:
    stop = Stop(None)
    with stop.listening():
        os.kill(os.getpid(), number)
        assert stop.wanted()
    assert stop.reason == f"stopped by {number.name}"
    assert stop.exit_code == code
    assert not stop.impatient(beat(Phase.TRAINING))


def test_the_second_signal_is_impatient_and_the_first_is_the_one_told() -> None:
    stop = Stop(None)
    with stop.listening():
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)
    assert stop.wanted()
    assert stop.impatient(beat(Phase.SAVING))
    assert stop.exit_code == 130


def test_sigterm_sent_several_times_means_the_same_as_once() -> None:
    stop = Stop(None)
    with stop.listening():
        for _ in range(3):
            os.kill(os.getpid(), signal.SIGTERM)
    assert stop.wanted()
    assert not stop.impatient(beat(Phase.TRAINING))


def test_time_that_was_spent_before_counts_for_the_total_only() -> None:
    asked = RetrySettings(max_time=60, max_time_per_run=60)
    assert not Stop(asked).wanted()
    spent = Stop(asked, spent=61.0)
    assert spent.wanted()
    assert spent.reason == "stopped: its max_time is over"
    assert spent.exit_code == 143


def test_patience_ends_sooner_for_a_step_than_for_a_save(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr("nimble_lightning.supervision.stop_request.time.monotonic", lambda: now[0])
    stop = Stop(RetrySettings(max_time_per_run=10))
    now[0] += 10
    assert stop.wanted()
    now[0] += 9
    assert stop.impatient(beat(Phase.TRAINING))
    assert not stop.impatient(beat(Phase.SAVING))
    now[0] += 300
    assert stop.impatient(beat(Phase.SAVING))


def test_a_length_of_time_that_is_none_is_refused() -> None:
    with pytest.raises(RequestError, match="max_time_per_run"):
        Stop(RetrySettings(max_time_per_run="a while"))
