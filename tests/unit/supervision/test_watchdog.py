"""A hang is found in time, and a slow step is not taken for one. On a clock that is only a number."""

from __future__ import annotations

import random

import pytest

from nimble_lightning.errors import RequestError
from nimble_lightning.runs.heartbeat import Beat, Phase
from nimble_lightning.runs.outcome import Hang
from nimble_lightning.supervision.watchdog import FACTOR, FLOOR_SECONDS, PATIENT_SECONDS, Watchdog

LOOK = 0.05


class Clock:
    """Ranks that beat when told to, and a supervisor that looks twenty times a second."""

    def __init__(self, watchdog: Watchdog, look: float = LOOK) -> None:
        self.watchdog, self.look, self.now = watchdog, look, 1000.0
        self.beats: dict[int, Beat] = {}

    def beat(self, rank: int = 0, phase: Phase = Phase.TRAINING) -> None:
        before = self.beats.get(rank)
        count, step = (0, 0) if before is None else (before.count, before.step)
        self.beats[rank] = Beat(1, count + 1, self.now, step + 1, phase)

    def pass_(self, seconds: float) -> Hang | None:
        until = self.now + seconds
        while self.now < until:
            self.now = min(until, self.now + self.look)
            if (hang := self.watchdog.look(self.beats, self.now)) is not None:
                return hang
        return None


def test_silence_longer_than_the_limit_is_found_within_a_look() -> None:
    clock = Clock(Watchdog(2.0))
    clock.beat()
    hang = clock.pass_(10)
    assert hang is not None
    assert 2.0 < hang.seconds <= 2.0 + 2 * LOOK


def test_the_rank_that_stopped_first_is_named() -> None:
    clock = Clock(Watchdog(2.0))
    clock.beat(1)
    clock.pass_(0.5)
    clock.beat(0)
    hang = clock.pass_(10)
    assert hang is not None
    assert hang.rank == 1


@pytest.mark.parametrize("phase", [Phase.STARTING, Phase.SAVING, Phase.ENDING])
def test_loading_saving_and_ending_are_given_more_time(phase: Phase) -> None:
    clock = Clock(Watchdog(2.0), look=4.0)
    clock.beat(phase=phase)
    assert clock.pass_(PATIENT_SECONDS - 5) is None
    assert clock.pass_(60) is not None


def test_none_finds_nothing() -> None:
    clock = Clock(Watchdog(None), look=4.0)
    clock.beat()
    assert clock.pass_(100_000) is None


@pytest.mark.parametrize("pace", [0.01, 1.0, 60.0])
def test_steps_that_jitter_tenfold_for_an_hour_raise_no_alarm(pace: float) -> None:
    chance, clock = random.Random(7), Clock(Watchdog("auto"), look=max(LOOK, min(4.0, pace)))
    end = clock.now + 3600 * max(1.0, pace)
    while clock.now < end:
        clock.beat(phase=chance.choice([Phase.TRAINING, Phase.VALIDATING]))
        assert clock.pass_(pace * chance.uniform(1, 10)) is None


def test_the_learned_limit_follows_the_slowest_step() -> None:
    watchdog = Watchdog("auto")
    clock = Clock(watchdog)
    for seconds in (1, 20, 1):
        assert watchdog.limit(Phase.TRAINING) >= PATIENT_SECONDS, "too few steps to tell"
        clock.beat()
        clock.pass_(seconds)
    clock.beat()
    clock.pass_(LOOK)
    assert watchdog.limit(Phase.TRAINING) == pytest.approx(FLOOR_SECONDS + FACTOR * 20, abs=FACTOR * 2 * LOOK)


def test_a_long_save_teaches_nothing_about_steps() -> None:
    watchdog = Watchdog("auto")
    clock = Clock(watchdog)
    for _ in range(4):
        clock.beat()
        clock.pass_(LOOK)
        clock.beat(phase=Phase.SAVING)
        clock.pass_(100)
    assert watchdog.limit(Phase.TRAINING) == pytest.approx(FLOOR_SECONDS, abs=FACTOR * 2 * LOOK)


def test_after_a_false_alarm_the_learned_limit_is_doubled() -> None:
    watchdog = Watchdog("auto")
    clock = Clock(watchdog)
    for _ in range(5):
        clock.beat()
        clock.pass_(LOOK)
    hang = clock.pass_(2 * FLOOR_SECONDS)
    assert hang is not None
    assert watchdog.limit(Phase.TRAINING) >= 2 * hang.seconds


def test_time_in_which_the_supervisor_stood_still_does_not_count() -> None:
    clock = Clock(Watchdog(2.0))
    clock.beat()
    assert clock.pass_(1) is None
    clock.now += 600
    assert clock.pass_(1.9) is None
    assert clock.pass_(1) is not None


@pytest.mark.parametrize("wrong", [0, -1, "soon"])
def test_a_limit_that_is_none_is_refused(wrong: object) -> None:
    with pytest.raises(RequestError, match="hang_seconds"):
        Watchdog(wrong)  # type: ignore[arg-type]


def test_a_new_attempt_is_not_blamed_for_the_last_one() -> None:
    watchdog = Watchdog(2.0)
    clock = Clock(watchdog)
    clock.beat()
    assert clock.pass_(10) is not None
    watchdog.start()
    clock.beats.clear()
    assert clock.pass_(10) is None
    clock.beat()
    assert clock.pass_(1) is None
