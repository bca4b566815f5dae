"""Drawings are well-formed, stay within their paper, and say nothing but what they were given."""

from __future__ import annotations

import math
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nimble_lightning.report import quantities
from nimble_lightning.report.charts.parallel import Parallel, Strand
from nimble_lightning.report.charts.plot import HEIGHT, WIDTH, Across, Line, Mark, Plot
from nimble_lightning.report.charts.scale import TIMES, Scale, axis, fitted
from nimble_lightning.report.charts.scatter import Dot, Scatter
from nimble_lightning.report.downsample import Bucket, Downsampled

HOSTILE = "</svg><script>alert(1)</script>\"'&"
FINITE = st.floats(-1e12, 1e12)


def buckets(*values: float) -> list[Bucket]:
    keeper = Downsampled(1000)
    keeper.extend(list(range(len(values))), values)
    return keeper.buckets


def parsed(drawing: Plot | Parallel | Scatter) -> ElementTree.Element:
    return ElementTree.fromstring(drawing.__html__())


def named(root: ElementTree.Element, kind: str) -> list[ElementTree.Element]:
    return [e for e in root.iter() if kind in e.get("class", "").split()]


@given(st.lists(FINITE, min_size=1, max_size=20), st.integers(1, 8))
def test_ticks_are_few_round_and_on_the_axis(values: list[float], most: int) -> None:
    scale = fitted(values, 100.0, log=None)
    assert scale.low <= min(values)
    assert max(values) <= scale.high
    ticks = scale.ticks(most)
    assert len(ticks) <= most + 1
    assert all(-1e-6 <= scale.place(tick) <= 100 + 1e-6 for tick in ticks)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0, 10, [0, 5, 10]), (0.1, 0.35, [0.1, 0.2, 0.3]), (0, 1e6, [0, 5e5, 1e6])],
)
def test_labels_are_the_numbers_people_count_in(low: float, high: float, expected: list[float]) -> None:
    assert Scale(low, high, 100).ticks(3) == pytest.approx(expected)


def test_time_is_labelled_in_hours_and_minutes() -> None:
    ticks = Scale(0, 7200, 100, units=TIMES).ticks(4)
    assert [quantities.duration(tick) for tick in ticks] == ["0 s", "30 min", "1 h", "1 h 30 min", "2 h"]


def test_a_loss_that_falls_by_orders_of_magnitude_is_drawn_in_powers_of_ten() -> None:
    scale = fitted([1e-4, 1e3], 70.0, log=None)
    assert scale.log
    assert scale.ticks(9) == [10.0**k for k in range(-4, 4)]
    assert not fitted([0.0, 1e3], 70.0, log=None).log


@given(st.lists(st.one_of(FINITE, st.sampled_from([math.nan, math.inf])), max_size=60))
def test_curves_stay_on_the_paper(values: list[float]) -> None:
    root = parsed(Plot("t", [Line("a", buckets(*values))], across=Across(span=(0, 60))))
    for path in [*named(root, "line"), *named(root, "band")]:
        for pair in path.get("d", "").strip("MZ").replace("h0", "").split("L"):
            x, y = map(float, pair.split())
            assert -0.1 <= x <= WIDTH + 0.1
            assert -0.1 <= y <= HEIGHT + 0.1


def test_a_band_reaches_the_extremes_that_the_line_leaves_out() -> None:
    whole = [buckets(1.0, 9.0)[0].joined(buckets(1.0, 9.0)[1]), buckets(5.0)[0]]
    root = parsed(Plot("t", [Line("a", whole)]))
    assert len(named(root, "band")) == len(named(root, "line")) == 1
    assert "a: 5, from 1 to 9 (step 0 to 1)" in "".join(root.itertext())


def test_what_is_no_number_breaks_the_curve_and_is_marked() -> None:
    root = parsed(Plot("t", [Line("loss", buckets(1.0, 2.0, math.nan, math.nan, 3.0, 4.0))]))
    assert len(named(root, "line")) == 2
    (gap,) = named(root, "gap")
    assert gap[0].text == "loss: 2 values that are no finite number"


def test_what_happened_is_marked_where_it_happened() -> None:
    marks = [Mark(1.0, "retry", "attempt 2"), Mark(99.0, "warn", "beyond")]
    (mark,) = named(parsed(Plot("t", [Line("a", buckets(0.0, 1.0, 2.0))], marks)), "mark")
    assert mark[0].get("x1") == "50.00%"
    assert mark.find("title").text == "attempt 2"  # type: ignore[union-attr]


def test_words_stay_words() -> None:
    plot = Plot(HOSTILE, [Line(HOSTILE, buckets(1.0, math.nan))], [Mark(0.0, "retry", HOSTILE)])
    strands = [Strand([1, HOSTILE], 0.0, HOSTILE), Strand([2, HOSTILE], 1.0, HOSTILE)]
    scatter = Scatter(HOSTILE, HOSTILE, [Dot(HOSTILE, 1.0, 0.0, HOSTILE)])
    for drawing in (plot, Parallel([HOSTILE, HOSTILE], strands), scatter):
        assert not list(parsed(drawing).iter("script"))


def test_every_choice_has_a_place_of_its_own_and_nothing_else_has_one() -> None:
    choices = axis("optim", ["sgd", "adamw", "sgd", None], 100.0)
    assert [choices.place(v) for v in ("adamw", "sgd", "lion", None)] == [25.0, 75.0, None, None]
    rates = axis("lr", [1e-4, 1e-3, 1e-2, "null"][:3], 100.0)
    assert rates.place(1e-3) == pytest.approx(50.0)
    assert [label for _, label in rates.labels] == ["0.0001", "0.001", "0.01"]
    assert rates.place("sgd") is None


def test_a_member_without_a_setting_is_drawn_through_the_others() -> None:
    strands = [Strand([1.0, None, 0.5], 0.0, "a"), Strand([2.0, 3.0, 0.6], 1.0, "b")]
    lines = named(parsed(Parallel(["x", "y", "z"], strands)), "strand")
    assert [line.get("d", "").count("L") for line in lines] == [2, 1]
