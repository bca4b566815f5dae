from __future__ import annotations

import threading

import pytest

from nimble_lightning.launch.multinode.messages import TimedQuestion, within


def test_an_answer_in_time_is_given() -> None:
    assert within(5, lambda: 6 * 7) == 42


def test_an_error_is_raised_where_the_answer_is_wanted() -> None:
    with pytest.raises(ValueError, match="no"):
        within(5, lambda: int("no"))


def test_a_question_without_an_answer_can_be_asked_again_for_it() -> None:
    ready = threading.Event()
    question = TimedQuestion(ready.wait)
    with pytest.raises(TimeoutError):
        question.answer(0.01)
    ready.set()
    assert question.answer(5) is True
