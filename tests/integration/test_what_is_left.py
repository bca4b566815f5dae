"""However a run ends, nothing of it is left: no process, its trainer's own included, and no file outside."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from leftovers import Command, running, signal_to, status, trains, workers

End = Callable[[Command], object]


def kill(words: str) -> End:
    return lambda command: signal_to([p for p in running(command, words) if p.ppid() == command.pid])


def to_the_command(*numbers: signal.Signals) -> End:
    return lambda command: [os.kill(command.pid, number) for number in numbers]


def hurry(then: End) -> End:
    """What comes after it need not take its time."""
    return lambda command: [Path("hurry").touch(), then(command)]


slow = pytest.mark.slow
SIGKILLED = -signal.SIGKILL
# What is done to it while it trains, its exit code, and what the record says.
ENDED: dict[str, tuple[End, int, str]] = {
    "stopped by Ctrl-C": (to_the_command(signal.SIGINT), 130, "stopped"),
    "stopped by Ctrl-C twice": (to_the_command(signal.SIGINT, signal.SIGINT), 130, "stopped"),
    "stopped by SIGTERM": (to_the_command(signal.SIGTERM), 143, "stopped"),
    "its terminal closed": (lambda command: os.killpg(command.pid, signal.SIGHUP), 143, "stopped"),
    "supervisor killed": (to_the_command(signal.SIGKILL), SIGKILLED, "running"),
    "worker killed": (hurry(lambda command: signal_to(workers(command))), 0, "finished"),
    "server killed": (hurry(kill("forkserver import main")), 0, "finished"),
    "tracker killed": (hurry(kill("resource_tracker import main")), 0, "finished"),
}
# What it does to itself, its exit code, and what the record says.
ENDS: dict[str, tuple[tuple[str, ...], int, str]] = {
    "finished": ((), 0, "finished"),
    "an error": (("params.end=wrong",), 1, "failed"),
    "KeyboardInterrupt": (("params.end=interrupted",), 1, "failed"),
    "os._exit(0)": (("params.end=exit",), 1, "failed"),
    "sys.exit(0)": (("params.end=quit",), 1, "failed"),
    "a crash": (("params.end=crash", "callbacks.auto_retry.max_retries=0"), 1, "failed"),
    "a hang": (
        ("params.end=hang", "callbacks.auto_retry.hang_seconds=2", "callbacks.auto_retry.max_retries=0"),
        1,
        "failed",
    ),
    "the disk is full": (("params.end=full", "callbacks.auto_retry.max_retries=0"), 1, "failed"),
    "its time over": (("params.pause=0.3", "callbacks.auto_retry.max_time_per_run=2"), 143, "stopped"),
    "criteria not met": (("validator=threshold", "validator.criteria=['val_loss < 0']"), 3, "finished"),
}
DEFAULT = ("supervisor killed",)


@pytest.mark.parametrize("end", [pytest.param(e, marks=[] if e in DEFAULT else slow) for e in ENDED])
def test_nothing_is_left_of_a_run_that_is_ended(end: str) -> None:
    what, code, said = ENDED[end]
    command = Command("params.pause=0.2")
    command.wait_for(trains)
    assert len(running(command, "sleep 600")) == 3
    what(command)
    assert command.end() == code, command.said
    assert status() == said
    assert command.left() == []


@pytest.mark.parametrize("end", [pytest.param(e, marks=[] if e in DEFAULT else slow) for e in ENDS])
def test_nothing_is_left_of_a_run_that_ends(end: str) -> None:
    words, code, said = ENDS[end]
    command = Command(*words)
    assert command.end() == code, command.said
    assert status() == said
    assert command.left() == []
