from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nimble_lightning.data.sample_order import SamplePlan, Share, even, permutation

SIZES = {"batch": st.integers(1, 7), "world": st.integers(1, 6)}


def shares(length: int, start: int, batch: int, world: int, *, drop_last: bool = False) -> list[list[Share]]:
    plans = [SamplePlan(batch, rank, world, drop_last) for rank in range(world)]
    return [list(plan.shares(length, start)) for plan in plans]


@given(length=st.integers(1, 120), start=st.integers(0, 119), **SIZES)
def test_every_remaining_sample_belongs_to_exactly_one_rank(
    length: int, start: int, batch: int, world: int
) -> None:
    start = min(start, length - 1)
    if length - start < world:
        return
    parts = shares(length, start, batch, world)
    seen = [index for rank in parts for part in rank for index in range(part.begin, part.end)]
    assert sorted(seen) == list(range(start, length))


@given(length=st.integers(1, 120), start=st.integers(0, 119), **SIZES)
def test_all_ranks_have_as_many_batches_none_empty_and_sizes_differ_by_at_most_one(
    length: int, start: int, batch: int, world: int
) -> None:
    start = min(start, length - 1)
    parts = shares(length, start, batch, world)
    assert {len(rank) for rank in parts} == {SamplePlan(batch, 0, world).count(length - start)}
    for step in zip(*parts, strict=True):
        sizes = [part.end - part.begin for part in step]
        assert min(sizes) >= 1
        assert max(sizes) - min(sizes) <= 1
        assert len({part.after for part in step}) == 1


@given(length=st.integers(1, 120), taken=st.integers(0, 40), **SIZES)
def test_planning_anew_from_a_position_changes_nothing_that_follows(
    length: int, taken: int, batch: int, world: int
) -> None:
    plan = SamplePlan(batch, world - 1, world)
    whole = list(plan.shares(length))
    taken = min(taken, len(whole) - 1)
    start = whole[taken - 1].after if taken else 0
    assert list(plan.shares(length, start)) == whole[taken:]


@given(length=st.integers(1, 120), **SIZES)
def test_drop_last_keeps_full_global_batches_only(length: int, batch: int, world: int) -> None:
    parts = shares(length, 0, batch, world, drop_last=True)
    assert {part.end - part.begin for rank in parts for part in rank} <= {batch}
    assert {len(rank) for rank in parts} == {length // (batch * world)}


def test_a_step_takes_the_next_samples_in_contiguous_shares() -> None:
    assert shares(8, 0, 2, 2) == [[(0, 2, 4), (4, 6, 8)], [(2, 4, 4), (6, 8, 8)]]


def test_a_rest_smaller_than_the_ranks_is_halved_with_the_batch_before_it() -> None:
    assert SamplePlan(4, 0, 4).cut(34) == (1, [9, 9])
    assert SamplePlan(1, 0, 2).cut(5) == (1, [3])


def test_what_cannot_be_shared_at_all_goes_to_all_ranks() -> None:
    first, *others = shares(10, 7, 2, 4)
    assert first == [(7, 9, 9), (9, 10, 10)]
    assert all(other == first for other in others)


@pytest.mark.parametrize("other", [(1, 0, 50), (0, 1, 50), (0, 0, 51)])
def test_the_order_depends_on_seed_epoch_and_length(other: tuple[int, int, int]) -> None:
    order = permutation(0, 0, 50)
    assert order.sort().values.tolist() == list(range(50))
    assert torch.equal(order, permutation(0, 0, 50))
    assert permutation(*other).tolist()[:50] != order.tolist()


def test_the_order_is_the_one_that_checkpoints_were_made_with() -> None:
    assert permutation(0, 0, 8).tolist() == [7, 1, 5, 2, 0, 3, 6, 4]


def test_shares_of_a_batch_lie_side_by_side() -> None:
    assert [even(5, rank, 3) for rank in range(3)] == [(0, 2), (2, 4), (4, 5)]
