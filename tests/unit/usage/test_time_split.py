from __future__ import annotations

import pytest
from usage_cases import piece

from nimble_lightning.usage.attempt_times import Span, split


def test_the_parts_add_up_to_the_attempt() -> None:
    span = Span(1, 95.0, 115.0, "killed", 0, 10)
    parts = split(span, [piece()], useful=7)
    assert sum(parts.values()) == pytest.approx(20.0)
    assert parts["start"] == pytest.approx(7.0), "two seconds told, five before the process was there to tell"


def test_what_was_not_heard_of_any_more_went_on_as_before() -> None:
    span = Span(1, 100.0, 115.0, "killed", 0, 10)
    assert split(span, [piece(state="step")], 10)["step"] == pytest.approx(12.0)
    assert split(span, [piece(state="checkpoint")], 10)["checkpoint"] == pytest.approx(2.0)
    assert split(span, [piece(state="away")], 10)["other"] == pytest.approx(2.0)


def test_a_hang_is_told_from_the_step_it_began_in() -> None:
    stuck = piece(seconds={"step": 310.0}, state="step", lasting=300.0)
    parts = split(Span(1, 100.0, 418.0, "hang", 0, 10), [stuck], 10)
    assert parts["step"] == pytest.approx(10.0)
    assert parts["hang"] == pytest.approx(305.0)


def test_a_hang_that_stops_all_threads_is_what_was_not_heard_of() -> None:
    stuck = piece(state="step", lasting=0.1)
    assert split(Span(1, 100.0, 413.0, "hang", 0, 10), [stuck], 10)["hang"] == pytest.approx(300.1)


def test_steps_that_were_done_again_are_lost_with_the_wait_for_their_batches() -> None:
    parts = split(Span(1, 100.0, 113.0, "killed", 0, 10), [piece()], useful=6)
    assert parts["lost"] == pytest.approx(4.4)
    assert parts["step"] == pytest.approx(6.0)
    assert parts["data"] == pytest.approx(0.6)


def test_ranks_are_averaged() -> None:
    ranks = [
        piece(rank=0, seconds={"step": 10.0, "data": 0.0}),
        piece(rank=1, seconds={"step": 6.0, "data": 4.0}),
    ]
    parts = split(Span(1, 100.0, 112.0, "", 0, 10), ranks, 10)
    assert parts["step"] == pytest.approx(8.0)
    assert parts["data"] == pytest.approx(2.0)


def test_a_process_older_than_the_attempt_tells_of_the_attempt_alone() -> None:
    notebook = piece(started=0.0, seconds={"start": 102.0})
    parts = split(Span(1, 100.0, 113.0, "", 0, 10), [notebook], 10)
    assert parts["start"] == pytest.approx(2.0)
    assert sum(parts.values()) == pytest.approx(13.0)


def test_an_attempt_that_told_nothing_was_starting_or_hung() -> None:
    assert split(Span(1, 0.0, 9.0, "killed"), [], 0)["start"] == 9.0
    assert split(Span(1, 0.0, 9.0, "hang"), [], 0)["hang"] == 9.0
