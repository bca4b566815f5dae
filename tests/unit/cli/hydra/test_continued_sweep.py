"""A sweep that is asked for again finds its members by what is varied in them."""

from __future__ import annotations

from pathlib import Path

import pytest

from nimble_lightning.cli.hydra.continued_sweep import numbered
from nimble_lightning.sweeps.outcomes import MemberOutcome, keep, kept


def member(number: int, *words: str, status: str = "finished") -> MemberOutcome:
    outcome = MemberOutcome(number, words, status, 0, Path("sweep", str(number)))
    keep(outcome)
    return outcome


def test_members_keep_their_numbers_and_new_ones_get_free_ones() -> None:
    member(0, "params.lr=1", "params.n=1")
    member(1, "params.lr=2", "params.n=1", status="running")
    rows = [("params.lr=3", "params.n=1"), ("params.n=1", "params.lr=2"), ("params.lr=1", "params.n=2")]
    assert numbered(Path("sweep"), rows, 0) == [2, 1, 3]
    assert numbered(Path("elsewhere"), rows, 5) == [5, 6, 7]


def test_two_alike_are_two_members() -> None:
    member(0, "params.lr=1")
    assert numbered(Path("sweep"), [("params.lr=1",), ("params.lr=1",)], 0) == [0, 1]


def test_one_of_which_nothing_is_varied_is_the_one_that_has_its_words() -> None:
    member(0, "params.lr=1")
    member(1, "params.lr=2")
    assert numbered(Path("sweep"), [("trainer=mine.py", "seed=3", "params.lr=2")], 0) == [1]
    assert numbered(Path("sweep"), [("trainer=mine.py", "params.lr=3")], 0) == [2]


@pytest.mark.parametrize(("there", "status"), [(True, "finished"), (False, "refused")])
def test_a_refusal_does_not_take_the_place_of_what_a_member_came_to(there: bool, status: str) -> None:
    done = member(0, "params.lr=1")
    if there:
        (done.folder / "run.json").write_text("{}")
    member(0, "params.lr=1", status="refused")
    found = kept(done.folder)
    assert found is not None
    assert found.status == status
