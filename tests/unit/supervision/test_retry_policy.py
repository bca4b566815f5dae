"""When a run is started again, and when that would be no use."""

from __future__ import annotations

import random

import pytest

from nimble_lightning.ops.end_causes import Cause
from nimble_lightning.runs.outcome import Outcome
from nimble_lightning.settings import RetrySettings
from nimble_lightning.supervision.retry_policy import RetryPolicy


def failed(step: int | None = 5, what: str = "RuntimeError: boom", cause: Cause = Cause.TRANSIENT) -> Outcome:
    return Outcome(cause, what, 0, step, fingerprint=what)


def from_outside(cause: Cause = Cause.KILLED, step: int | None = 5) -> Outcome:
    return Outcome(cause, "by somebody", 0, step)


@pytest.mark.parametrize(
    "cause", [Cause.FINISHED, Cause.STOPPED, Cause.CONFIG, Cause.DETERMINISTIC, Cause.NAN]
)
def test_what_would_end_the_same_is_never_tried_again(cause: Cause) -> None:
    assert RetryPolicy().decide(failed(cause=cause), 0).wait is None


def test_the_same_failure_at_the_same_step_ends_a_run_after_two_attempts() -> None:
    policy = RetryPolicy()
    assert policy.decide(failed(), 0).wait == 0
    second = policy.decide(failed(), 0)
    assert second.wait is None
    assert second.outcome.cause is Cause.DETERMINISTIC
    assert "same step" in second.why_not


def test_it_does_so_though_a_newer_step_was_committed_in_between() -> None:
    policy = RetryPolicy()
    policy.decide(failed(step=9), 4)
    assert policy.decide(failed(step=9), 8).wait is None


def test_a_failure_that_moves_on_with_the_run_is_tried_again_as_often_as_it_takes() -> None:
    policy = RetryPolicy(max_retries=2)
    assert all(policy.decide(failed(step=10 * n), 10 * n - 1).wait == 0 for n in range(1, 50))


def test_attempts_that_fail_alike_without_a_commit_end_a_run() -> None:
    policy = RetryPolicy(max_retries=50)
    decisions = [policy.decide(failed(step=step), 0) for step in (3, 4, 5)]
    assert [d.wait is None for d in decisions] == [False, False, True]


@pytest.mark.parametrize("cause", [Cause.KILLED, Cause.PREEMPTED, Cause.HOST_MEMORY])
def test_kills_at_the_same_early_step_use_the_whole_budget(cause: Cause) -> None:
    policy = RetryPolicy(max_retries=5)
    decisions = [policy.decide(from_outside(cause, step=0), 0) for _ in range(6)]
    assert [d.wait is None for d in decisions] == [False] * 5 + [True]


def test_progress_refills_the_budget() -> None:
    policy = RetryPolicy(max_retries=2)
    assert policy.decide(from_outside(), 0).wait is not None
    assert policy.decide(from_outside(), 0).wait is not None
    assert policy.decide(from_outside(), 7).wait == 0
    assert policy.decide(from_outside(), 7).wait is not None
    assert policy.decide(from_outside(), 7).wait is None


def test_without_the_callback_nothing_is_tried_again() -> None:
    assert RetryPolicy.of(None).decide(from_outside(), 3).wait is None
    assert RetryPolicy.of(RetrySettings(max_retries=1)).decide(from_outside(), 0).wait == 0


def test_the_first_retry_is_at_once_and_the_rest_wait_longer_and_longer() -> None:
    policy = RetryPolicy(max_retries=20, chance=random.Random(0))
    waits = [policy.decide(from_outside(), 0).wait for _ in range(12)]
    assert waits[0] == 0
    for n, wait in enumerate(waits[1:]):
        assert wait is not None
        assert 0.5 * min(60, 2**n) <= wait <= 1.5 * min(60, 2**n)


def test_a_lost_connection_is_given_more_time_than_a_kill() -> None:
    lost, kill = RetryPolicy(chance=random.Random(0)), RetryPolicy(chance=random.Random(0))
    for _ in range(3):
        slow, quick = lost.decide(from_outside(Cause.TRANSIENT), 0), kill.decide(from_outside(), 0)
    assert slow.wait is not None
    assert quick.wait is not None
    assert slow.wait > quick.wait


def test_waits_of_different_runs_differ() -> None:
    waits = set()
    for seed in range(20):
        policy = RetryPolicy(chance=random.Random(seed))
        policy.decide(from_outside(), 0)
        waits.add(policy.decide(from_outside(), 0).wait)
    assert len(waits) == 20


@pytest.mark.parametrize("fingerprint", ["", "RuntimeError: flaky"])
def test_a_fault_of_one_in_five_attempts_lets_999_of_1000_runs_end_within_six(fingerprint: str) -> None:
    """Two thousand steps, committed every fifty; an attempt fails with p = 0.2, somewhere on its way."""
    chance, runs, ended = random.Random(1), 20_000, 0
    for _ in range(runs):
        policy, committed = RetryPolicy(chance=chance), 0
        for _ in range(6):
            if chance.random() >= 0.2:
                ended += 1
                break
            step = chance.randrange(committed, 2000)
            committed = step // 50 * 50
            if policy.decide(Outcome(Cause.TRANSIENT, "flaky", 0, step, fingerprint), committed).wait is None:
                break
    assert ended / runs >= 0.999


def test_what_does_not_count_is_never_the_last_straw_unless_it_never_ends() -> None:
    policy = RetryPolicy(max_retries=0)
    gone = Outcome(Cause.KILLED, "the server is gone", 0, 5, counts=False)
    assert all(policy.decide(gone, 0).wait == 0 for _ in range(20))
    assert policy.decide(gone, 0).wait is None


def test_a_run_that_never_gets_further_is_not_queued_again_for_ever() -> None:
    barren = [{"cause": "preempted", "first_step": 20} for _ in range(3)]
    assert RetryPolicy(max_retries=2).preempted_in_vain(barren, 20)
    assert not RetryPolicy(max_retries=2).preempted_in_vain(barren, 25)
    assert not RetryPolicy(max_retries=3).preempted_in_vain(barren, 20)
    killed = {"cause": "killed", "first_step": 20}
    assert not RetryPolicy(max_retries=2).preempted_in_vain([*barren[:2], killed], 20)
