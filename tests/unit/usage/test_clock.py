from __future__ import annotations

import threading

import pytest

from nimble_lightning.usage.clock import AWAY, CHECKPOINT, DATA, STEP, Clock


def test_every_moment_belongs_to_one_state() -> None:
    clock = Clock(age=5.0)
    for state in (STEP, DATA, STEP, CHECKPOINT):
        clock.switch(state)
    reading = clock.read()
    assert reading.state == CHECKPOINT
    assert reading.seconds["start"] == pytest.approx(5.0, abs=0.5)
    assert reading.total == pytest.approx(sum(reading.seconds.values()))


def test_a_switch_tells_what_was_before() -> None:
    clock = Clock(state=STEP)
    assert clock.switch(CHECKPOINT) == STEP
    assert clock.switch(STEP) == CHECKPOINT


def test_time_away_is_nobodys() -> None:
    clock = Clock(age=3.0, state=AWAY)
    clock.switch(STEP)
    reading = clock.read()
    assert reading.seconds[AWAY] >= 3.0
    assert reading.total < 1.0


def test_a_reading_adds_up_though_the_clock_is_switched_meanwhile() -> None:
    clock = Clock(age=1000.0, state=STEP)
    ended = threading.Event()

    def switch() -> None:
        while not ended.is_set():
            clock.switch(DATA)
            clock.switch(STEP)

    thread = threading.Thread(target=switch)
    thread.start()
    try:
        totals = [clock.read().total for _ in range(500)]
    finally:
        ended.set()
        thread.join()
    assert totals == sorted(totals)
    assert totals[-1] < 1100.0
