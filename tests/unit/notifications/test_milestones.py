"""A run that goes well is told of now and then, and never twice of the same."""

from __future__ import annotations

import math

import pytest

from nimble_lightning.errors import RequestError
from nimble_lightning.notifications.milestones import Milestones


def reached(milestones: Milestones, steps: range, total: int | None) -> list[str]:
    milestones.begin(steps.start, total, 0.0)
    return [told for step in steps if (told := milestones.at_step(step, total, 0.0))]


@pytest.mark.parametrize("total", [4, 90, 1000, 12345])
def test_per_cent_are_told_once_each_without_beginning_and_end(total: int) -> None:
    assert reached(Milestones.every("25%"), range(total + 1), total) == ["25 %", "50 %", "75 %"]


def test_a_run_that_goes_on_does_not_tell_what_lies_behind_it() -> None:
    assert reached(Milestones.every("10 %"), range(55, 101), 100) == ["60 %", "70 %", "80 %", "90 %"]


@pytest.mark.parametrize("total", [7, 100, 999])
def test_it_is_looked_at_exactly_when_something_may_be_reached(total: int) -> None:
    milestones, told, step = Milestones.every("25%"), [], 0
    milestones.begin(0, total, 0.0)
    while step <= total:
        told += [milestones.at_step(step, total, 0.0)]
        step += int(milestones.steps_to_next(step, total))
    assert [text for text in told if text] == ["25 %", "50 %", "75 %"]
    assert len(told) <= 5


def test_without_an_end_there_are_no_per_cent() -> None:
    milestones = Milestones.every("25%")
    assert reached(milestones, range(100), None) == []
    assert milestones.steps_to_next(3, None) == math.inf


def test_time_is_told_from_the_begin_of_the_fit() -> None:
    milestones = Milestones.every("30m")
    milestones.begin(0, None, 100.0)
    assert milestones.at_step(5, None, 1899.0) is None
    assert milestones.at_step(6, None, 1900.0) == "after 30:00"
    assert milestones.at_step(7, None, 1901.0) is None


def test_epochs_are_told_at_their_ends_but_not_the_last() -> None:
    milestones = Milestones.every("2 epochs")
    told = [milestones.at_epoch_end(done, 6) for done in range(1, 7)]
    assert told == [None, "epoch 2 of 6", None, "epoch 4 of 6", None, None]
    assert milestones.at_epoch_end(2, None) == "epoch 2"


def test_none_is_never() -> None:
    assert reached(Milestones.every(None), range(100), 100) == []


@pytest.mark.parametrize("text", ["0%", "101%", "0 epochs", "often", "-5"])
def test_what_is_no_distance_is_refused(text: str) -> None:
    with pytest.raises(RequestError, match="milestone="):
        Milestones.every(text)
