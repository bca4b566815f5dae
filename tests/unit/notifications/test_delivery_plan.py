"""Which message goes out when: retries, the breaker, and summing up."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from nimble_lightning.notifications.delivery_plan import RETRY_SECONDS, Lane, Numbered, numbers
from nimble_lightning.notifications.events import Event


def event(number: int, kind: str = "best") -> Numbered:
    return Numbered(number, Event(kind))


def lane() -> Lane:
    return Lane(coalesce=10.0, chance=lambda: 0.5)


def test_the_first_event_of_a_kind_goes_out_at_once_and_the_next_ones_together() -> None:
    telling = lane()
    telling.add(event(1))
    first = telling.due(100.0)
    assert first is not None
    telling.succeeded(first, 100.0)
    for number in (2, 3, 4):
        telling.add(event(number))
    assert telling.due(109.9) is None
    assert telling.next_time(101.0) == 110.0
    together = telling.due(110.0)
    assert together is not None
    assert [each.number for each in together.events] == [2, 3, 4]


def test_kinds_do_not_wait_for_each_other() -> None:
    telling = lane()
    telling.add(event(1, "best"))
    telling.succeeded(telling.due(100.0), 100.0)
    telling.add(event(2, "best"))
    telling.add(event(3, "failed"))
    assert telling.due(101.0).kind == "failed"


def test_what_comes_while_a_message_is_on_its_way_is_kept_for_the_next() -> None:
    telling = lane()
    telling.add(event(1))
    sent = telling.due(100.0)
    telling.add(event(2))
    telling.succeeded(sent, 100.0)
    assert telling.pending == 1


def test_waits_grow_to_the_longest_and_stay_there_and_nothing_is_dropped() -> None:
    telling, now, waits = lane(), 0.0, []
    telling.add(event(1))
    for _ in range(6):
        assert telling.due(now) is not None
        telling.failed(now)
        waits.append(telling.next_time(now) - now)
        assert telling.due(now + waits[-1] - 0.01) is None
        now += waits[-1]
    assert waits == [*RETRY_SECONDS, RETRY_SECONDS[-1], RETRY_SECONDS[-1]]
    assert telling.breaker.is_open
    telling.succeeded(telling.due(now), now)
    assert not telling.breaker.is_open
    assert telling.pending == 0


def test_jitter_keeps_runs_apart_and_within_a_quarter() -> None:
    soonest, latest = Lane(chance=lambda: 0.0), Lane(chance=lambda: 1.0)
    for telling in (soonest, latest):
        telling.add(event(1))
        telling.failed(0.0)
    assert (soonest.next_time(0.0), latest.next_time(0.0)) == (0.75, 1.25)


def test_a_clock_that_was_set_back_silences_nothing_for_long() -> None:
    telling = lane()
    telling.was_sent("best", 1e9)
    telling.add(event(1))
    assert telling.next_time(500.0) == 510.0


def test_a_restart_keeps_the_distance_to_the_last_message() -> None:
    telling = lane()
    telling.was_sent("best", 95.0)
    telling.add(event(1))
    assert telling.due(100.0) is None
    assert telling.due(105.0) is not None


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["best", "alarm"]), st.booleans(), st.floats(0, 30))))
def test_whatever_fails_everything_is_delivered_once_and_never_too_often(
    story: list[tuple[str, bool, float]],
) -> None:
    telling, now, delivered, sent = lane(), 1000.0, [], []
    steps = [*enumerate(story), *((None, ("", True, 200.0)) for _ in range(6))]
    for number, (kind, works, pause) in steps:
        if number is not None:
            telling.add(event(number, kind))
        now += pause
        while (batch := telling.due(now)) is not None:
            if not works:
                telling.failed(now)
                break
            delivered += [each.number for each in batch.events]
            sent.append((batch.kind, now))
            telling.succeeded(batch, now)
    assert sorted(delivered) == list(range(len(story)))
    for kind in ("best", "alarm"):
        times = [when for each, when in sent if each == kind]
        assert all(b - a >= 10.0 - 1e-6 for a, b in zip(times, times[1:], strict=False))


def test_numbers_are_told_as_ranges() -> None:
    assert numbers([event(n) for n in (9, 3, 4, 5)]) == "#3-#5 #9"
    assert numbers([]) == ""
