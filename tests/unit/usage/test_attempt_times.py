from __future__ import annotations

from usage_cases import attempt, piece

from nimble_lightning.usage.attempt_times import LONGEST_WAIT, Span, spans, useful_steps, waits


def test_what_was_seen_from_outside_counts_more_than_what_a_process_told() -> None:
    (span,) = spans([attempt(1, 90.0, 120.0)], [piece(started=100.0, updated=113.0)])
    assert (span.start, span.end) == (90.0, 120.0)


def test_without_a_supervisor_the_processes_tell() -> None:
    first, second = spans([], [piece(1), piece(2, started=200.0)])
    assert (first.length, second.start) == (13.0, 200.0)


def test_an_attempt_nobody_saw_the_end_of_ends_where_it_was_last_heard_of() -> None:
    (span,) = spans([attempt(1, 90.0, None)], [piece(updated=113.0)])
    assert span.end == 113.0
    (span,) = spans([attempt(1, 90.0, None)], [])
    assert span.length == 0.0


def test_steps_told_by_nobody_are_known_from_where_the_next_attempt_began() -> None:
    recorded = [attempt(1, 0.0, 50.0, last_step=0), attempt(2, 50.0, 60.0, first_step=12, last_step=20)]
    first, _ = spans(recorded, [piece(1, last_step=10)])
    assert first.last_step == 12


def test_steps_done_again_are_useful_once() -> None:
    of_run = [Span(1, 0, 9, "", 0, 15), Span(2, 9, 19, "", 10, 14), Span(3, 19, 29, "", 12, 20)]
    assert useful_steps(of_run) == {1: 10, 2: 2, 3: 8}


def test_a_run_that_fell_back_behind_an_attempt_has_lost_all_of_it() -> None:
    of_run = [Span(1, 0, 9, "", 0, 10), Span(2, 9, 19, "", 10, 20), Span(3, 19, 29, "", 5, 20)]
    assert useful_steps(of_run) == {1: 5, 2: 0, 3: 15}


def test_only_the_wait_for_the_next_try_is_a_wait() -> None:
    tried = [Span(1, 0, 10, "killed"), Span(2, 13, 20, "killed"), Span(3, 21, 30, "finished")]
    assert waits(tried) == 4.0
    stopped = [Span(1, 0, 10, "stopped"), Span(2, 13, 20, "finished")]
    assert waits(stopped) == 0.0, "its user had it stopped and started it later"
    overnight = [Span(1, 0, 10, "killed"), Span(2, 11 + LONGEST_WAIT, 200, "finished")]
    assert waits(overnight) == 0.0
