"""However much comes in, little is kept, and no extreme is lost."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from nimble_lightning.report.downsample import Bucket, Downsampled

FINITE = st.floats(-1e9, 1e9)
ANY = st.one_of(FINITE, st.sampled_from([math.nan, math.inf, -math.inf]))


def thinned(values: list[float], most: int = 8, batch: int = 7) -> list[Bucket]:
    keeper = Downsampled(most)
    for start in range(0, len(values), batch):
        part = values[start : start + batch]
        keeper.extend(list(range(start, start + len(part))), part)
    return keeper.buckets


@given(st.lists(ANY, max_size=200), st.integers(2, 12), st.integers(1, 50))
def test_every_value_is_in_the_bucket_of_its_place(values: list[float], most: int, batch: int) -> None:
    buckets = thinned(values, most, batch)
    assert len(buckets) <= most + 1
    assert sum(b.count + b.lost for b in buckets) == len(values)
    for b in buckets:
        own = [v for v in values[int(b.first) : int(b.last) + 1] if math.isfinite(v)]
        assert len(own) == b.count
        if own:
            assert (b.low, b.high) == (min(own), max(own))
            assert b.low <= b.mean <= b.high
            assert math.isclose(b.total, math.fsum(own), rel_tol=1e-6, abs_tol=1e-6 * max(map(abs, own)))


@given(st.lists(FINITE, min_size=1, max_size=300))
def test_buckets_follow_each_other_without_a_gap(values: list[float]) -> None:
    buckets = thinned(values)
    assert buckets[0].first == 0
    assert buckets[-1].last == len(values) - 1
    assert all(right.first == left.last + 1 for left, right in zip(buckets, buckets[1:], strict=False))


def test_a_few_points_are_kept_one_by_one() -> None:
    assert [(b.first, b.low, b.high) for b in thinned([3.0, 1.0, 2.0])] == [(0, 3, 3), (1, 1, 1), (2, 2, 2)]


def test_a_lone_spike_survives_a_million_points() -> None:
    keeper = Downsampled(100)
    for start in range(0, 1_000_000, 10_000):
        values = [0.5] * 10_000
        if start == 370_000:
            values[1234] = 99.0
        keeper.extend(list(range(start, start + 10_000)), values)
    (spike,) = [b for b in keeper.buckets if b.high > 1]
    assert spike.first <= 371_234 <= spike.last
    assert (spike.low, spike.high) == (0.5, 99.0)


def test_what_is_no_number_is_counted_and_leaves_the_rest_alone() -> None:
    (whole,) = [left.joined(right) for left, right in [thinned([1.0, math.nan])]]
    assert (whole.low, whole.high, whole.count, whole.lost) == (1.0, 1.0, 1, 1)
    nothing = thinned([math.inf])[0]
    assert nothing.count == 0
    assert math.isnan(nothing.mean)


def test_the_mean_of_joined_buckets_is_over_their_points() -> None:
    # Two buckets of two, one of which has lost a point.
    assert [b.mean for b in thinned([1.0, math.nan, 4.0, 7.0], most=2)] == [4.0]
