"""One message on its way: whatever a service does with it, the sender hears of it in time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from nimble_lightning.notifications import send_one


def answer(deliver: Callable[[], None]) -> str:
    """What the sender hears of a delivery."""
    place: Any = None
    attempt = send_one.start(place, place, time.time(), deliver)
    try:
        while (said := attempt.ended()) is None:
            time.sleep(0.01)
        return said
    finally:
        attempt.close()


def refuse() -> None:
    raise send_one.Refused("error=500")


def trickle() -> None:
    while True:
        time.sleep(0.05)


def test_what_arrives_is_answered_with_nothing() -> None:
    assert answer(lambda: None) == ""


def test_a_refusal_is_passed_on() -> None:
    assert answer(refuse) == "error=500"


def test_an_error_of_a_plugin_is_an_answer_too() -> None:
    assert "ZeroDivisionError" in answer(lambda: print(1 / 0))


def test_what_never_ends_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(send_one, "ATTEMPT_SECONDS", 1)
    assert answer(trickle) == "no answer within 1 s"
