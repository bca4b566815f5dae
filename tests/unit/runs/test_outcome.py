"""Which of several things that went wrong is said to be the reason."""

from __future__ import annotations

import signal
from typing import Any

import pytest

from nimble_lightning.errors import RequestError
from nimble_lightning.ops.failures import DISK_FULL, facts_of
from nimble_lightning.runs.heartbeat import Beat, Phase
from nimble_lightning.runs.outcome import Evidence, Hang, judge


def wrote(
    error: BaseException, rank: int = 0, at: float = 100.0, step: int = 7, **more: Any
) -> dict[str, Any]:
    return {**facts_of(error, rank, step), "time": at, **more}


def beat(step: int = 7) -> Beat:
    return Beat(1000, 5, 0.0, step, Phase.TRAINING)


CLOSED = RuntimeError("Connection closed by peer [127.0.0.1]:4711")


def test_the_finished_flag_alone_means_finished() -> None:
    assert judge(Evidence(finished=True, exit_codes={0: -9})).cause == "finished"


def test_an_error_names_rank_step_and_its_first_line() -> None:
    outcome = judge(Evidence(errors=[wrote(RuntimeError("boom\nand more"), rank=1)], exit_codes={1: 1}))
    assert (outcome.cause, outcome.rank, outcome.step) == ("transient", 1, 7)
    assert outcome.reason == "RuntimeError: boom"


def test_an_error_of_ours_is_told_as_it_is_written() -> None:
    outcome = judge(Evidence(errors=[wrote(RequestError("There is no x\nGive x=..."))], exit_codes={0: 1}))
    assert (outcome.cause, outcome.reason) == ("config", "There is no x\nGive x=...")


def test_a_disk_too_full_to_write_down_the_error_is_named() -> None:
    outcome = judge(Evidence(exit_codes={0: DISK_FULL}, beats={0: beat()}))
    assert (outcome.cause, outcome.step) == ("transient", 7)
    assert "ENOSPC" in outcome.reason


def test_the_error_that_came_first_counts() -> None:
    errors = [wrote(ValueError("later"), rank=0, at=101), wrote(KeyError("sooner"), rank=1, at=100)]
    assert judge(Evidence(errors=errors)).rank == 1


@pytest.mark.parametrize("survivor_at", [99.9, 100.1])
def test_a_survivors_complaint_never_wins(survivor_at: float) -> None:
    errors = [wrote(CLOSED, rank=0, at=survivor_at), wrote(RuntimeError("boom"), rank=1, at=100)]
    assert judge(Evidence(errors=errors, exit_codes={0: 1})).rank == 1


def test_an_error_after_being_asked_to_end_is_a_consequence() -> None:
    errors = [wrote(KeyError("teardown"), rank=0, at=99, asked=True), wrote(RuntimeError("boom"), rank=1)]
    assert judge(Evidence(errors=errors)).rank == 1


def test_a_rank_that_is_killed_is_named_though_only_the_other_could_write() -> None:
    evidence = Evidence(
        errors=[wrote(CLOSED, rank=0)],
        exit_codes={0: 1},
        beats={0: beat(), 1: beat(12)},
        gone={1: 100.05, 0: 100.4},
    )
    outcome = judge(evidence)
    assert (outcome.cause, outcome.rank, outcome.step) == ("killed", 1, 12)


def test_a_rank_cleared_away_after_an_error_is_not_the_reason() -> None:
    evidence = Evidence(
        errors=[wrote(RuntimeError("boom"), rank=0)],
        exit_codes={0: 1},
        beats={0: beat(), 1: beat()},
        gone={0: 100.1, 1: 103.2},
    )
    assert judge(evidence).reason == "RuntimeError: boom"


def test_a_kill_from_outside_has_no_fingerprint_and_a_crash_has_one() -> None:
    killed = judge(Evidence(exit_codes={0: -signal.SIGKILL}, beats={0: beat()}))
    crashed = judge(Evidence(exit_codes={0: -signal.SIGSEGV}, beats={0: beat()}))
    assert (killed.cause, killed.fingerprint) == ("killed", "")
    assert "SIGSEGV" in crashed.reason
    assert crashed.fingerprint


def test_a_kill_while_the_system_ran_out_of_memory_says_so() -> None:
    evidence = Evidence(exit_codes={0: -signal.SIGKILL}, beats={0: beat()}, out_of_memory=True)
    assert judge(evidence).cause == "host_memory"
    evidence.exit_codes = {0: -signal.SIGSEGV}
    assert judge(evidence).cause == "killed"


def test_a_hang_is_a_hang_though_the_workers_were_killed_for_it() -> None:
    hang = Hang(1, 30, 61.0, "in train (my.py:3)")
    outcome = judge(Evidence(hang=hang, exit_codes={0: -9, 1: -9}, beats={0: beat(), 1: beat()}))
    assert (outcome.cause, outcome.rank, outcome.step) == ("hang", 1, 30)
    assert "61 s" in outcome.reason
    assert "my.py:3" in outcome.reason


class SIGTERMException(SystemExit):
    """As Lightning has it."""


class OutOfTime(SIGTERMException):
    """As the callback has it."""


def test_sigterm_that_nobody_here_sent_is_a_preemption() -> None:
    for error in (SIGTERMException(143), SystemExit(143)):
        assert judge(Evidence(errors=[wrote(error)], exit_codes={0: 143})).cause == "preempted"
    for code in (143, -signal.SIGTERM):
        assert judge(Evidence(exit_codes={0: code}, beats={0: beat()})).cause == "preempted"


def test_a_rank_that_goes_while_the_others_tell_of_sigterm_was_not_killed() -> None:
    evidence = Evidence(
        errors=[wrote(SIGTERMException(143), rank=1)],
        exit_codes={1: 143},
        beats={0: beat(), 1: beat()},
        gone={0: 100.2, 1: 100.1},
    )
    assert judge(evidence).cause == "preempted"
    evidence.exit_codes = {0: -signal.SIGKILL}
    assert judge(evidence).cause == "killed"


def test_a_time_limit_is_a_stop_that_names_itself() -> None:
    outcome = judge(Evidence(errors=[wrote(OutOfTime("max_time_per_run of 60 s is over"))]))
    assert outcome.cause == "stopped"
    assert "max_time_per_run" in outcome.reason


def test_a_program_that_leaves_by_itself_is_not_started_again() -> None:
    assert judge(Evidence(errors=[wrote(SystemExit(3))], exit_codes={0: 3})).cause == "deterministic"


def test_workers_that_could_not_be_started_say_why() -> None:
    assert "no port" in judge(Evidence(trouble="OSError: no port")).reason


def test_an_error_that_explains_itself_outweighs_a_rank_cleared_away_right_after_it() -> None:
    evidence = Evidence(
        errors=[wrote(ValueError("no such thing"), rank=1, at=100)],
        exit_codes={1: 1},
        beats={0: beat(), 1: beat()},
        gone={1: 100.1, 0: 100.2},
    )
    outcome = judge(evidence)
    assert (outcome.cause, outcome.rank) == ("deterministic", 1)


@pytest.mark.parametrize(
    "evidence",
    [
        Evidence(exit_codes={0: 255}, beats={0: beat()}),
        Evidence(trouble="EOFError: unexpected EOF"),
        Evidence(errors=[wrote(CLOSED, rank=0)], gone={1: 99.0}, beats={0: beat(), 1: beat()}),
    ],
)
def test_workers_that_ended_with_their_server_have_not_failed(evidence: Evidence) -> None:
    evidence.server_lost = True
    outcome = judge(evidence)
    assert (outcome.cause, outcome.counts, outcome.fingerprint) == ("killed", False, "")
    assert "server" in outcome.reason


def test_an_error_of_a_workers_own_counts_though_the_server_is_gone() -> None:
    outcome = judge(Evidence(errors=[wrote(ValueError("no such thing"))], server_lost=True))
    assert (outcome.cause, outcome.counts) == ("deterministic", True)
