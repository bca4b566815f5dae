from __future__ import annotations

import logging
import threading

import pytest

from nimble_lightning.errors import ExportError
from nimble_lightning.export.hub_upload import ATTEMPTS, retried
from nimble_lightning.export.upload_queue import Push, Pusher


class Refused(Exception):
    def __init__(self, status: int) -> None:
        super().__init__(f"status {status}\nand a long story")
        self.response = type("Response", (), {"status_code": status})()


def test_pushes_are_done_in_order_and_waited_for() -> None:
    done: list[int] = []
    pusher = Pusher()
    for number in range(5):
        pusher.add(Push(f"push {number}", lambda n=number: done.append(n), "again"))
    assert pusher.finish(10) == []
    assert done == [0, 1, 2, 3, 4]


def test_one_that_waits_gives_way_to_a_later_one_of_its_slot() -> None:
    done: list[str] = []
    dropped: list[str] = []
    go, begun = threading.Event(), threading.Event()
    pusher = Pusher()
    pusher.add(Push("first", lambda: (begun.set(), go.wait(10)), "again"))
    assert begun.wait(10)
    for name in ("a", "b", "c"):
        pusher.add(
            Push(name, lambda n=name: done.append(n), "again", "model", lambda n=name: dropped.append(n))
        )
    pusher.add(Push("kept", lambda: done.append("kept"), "again"))
    go.set()
    assert pusher.finish(10) == []
    assert done == ["c", "kept"]
    assert dropped == ["a", "b", "c"]


def test_a_push_that_fails_is_a_warning_with_the_command_and_the_next_is_done(
    caplog: pytest.LogCaptureFixture,
) -> None:
    done: list[int] = []
    pusher = Pusher()
    with caplog.at_level(logging.WARNING):
        pusher.add(Push("the model", lambda: 1 / 0, "nimble-cli export x --to hub"))
        pusher.add(Push("another", lambda: done.append(1), "again"))
        pusher.finish(10)
    assert done == [1]
    assert "the model was not pushed" in caplog.text
    assert "nimble-cli export x --to hub" in caplog.text


def test_what_takes_too_long_is_not_waited_for_and_named(caplog: pytest.LogCaptureFixture) -> None:
    go, begun = threading.Event(), threading.Event()
    pusher = Pusher()
    pusher.add(Push("slow", lambda: (begun.set(), go.wait(10)), "again slow"))
    assert begun.wait(10)
    pusher.add(Push("behind", lambda: None, "again behind"))
    with caplog.at_level(logging.WARNING):
        assert [push.what for push in pusher.finish(0.05)] == ["slow", "behind"]
    go.set()
    assert "again slow" in caplog.text
    assert "again behind" in caplog.text


def test_trouble_that_may_pass_is_tried_again_with_longer_waits() -> None:
    outcomes = iter([Refused(503), ConnectionError("reset"), "address"])
    waits: list[float] = []

    def act() -> str:
        outcome = next(outcomes)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    assert retried(act, "Pushing", waits.append) == "address"
    assert waits == [1.0, 2.0]


def test_it_is_tried_only_so_often_and_what_stays_is_tried_once() -> None:
    for error, attempts in ((Refused(500), ATTEMPTS), (Refused(403), 1), (ValueError("no repository"), 1)):
        tried: list[int] = []

        def act(error: Exception = error, tried: list[int] = tried) -> str:
            tried.append(1)
            raise error

        with pytest.raises(ExportError, match="Pushing failed") as refused:
            retried(act, "Pushing", lambda seconds: None)
        assert len(tried) == attempts
        assert "\n" not in str(refused.value)
