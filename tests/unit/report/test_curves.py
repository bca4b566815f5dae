"""The curves are the history that counts, whatever came between."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import report_cases as cases
from hypothesis import given
from hypothesis import strategies as st

from nimble_lightning.loggers.history import read_metrics
from nimble_lightning.report import curves
from nimble_lightning.report.curves import Curve, read_curves

ROWS = st.lists(
    st.tuples(
        st.integers(1, 4),
        st.integers(0, 30),
        st.dictionaries(st.sampled_from("abc"), st.integers(0, 99), min_size=1),
    ),
    max_size=60,
)


def points(curve: Curve) -> list[tuple[float, float]]:
    return [(b.x, b.low) for b in curve.buckets]


def history(path: Path) -> dict[str, list[tuple[float, float]]]:
    """What `read_metrics` says, by metric."""
    found: dict[str, list[tuple[float, float]]] = {}
    for row in read_metrics(path):
        for name, value in row["metrics"].items():
            found.setdefault(name, []).append((row["step"], value))
    return found


@given(ROWS, st.booleans(), st.integers(1, 400))
def test_they_are_what_the_history_is(given_rows: list[Any], in_order: bool, size: int) -> None:
    ordered = sorted(given_rows, key=lambda r: r[0]) if in_order else given_rows
    path = cases.rows(Path("m.jsonl"), *(cases.row(step, a, **metrics) for a, step, metrics in ordered))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(curves, "chunks", lambda p, read=curves.chunks: read(p, size=size))
        found = read_curves(path)
    drawn, right = {name: points(curve) for name, curve in found.items()}, history(path)
    if not in_order:
        # Attempts that are mixed in the file are drawn one after the other.
        drawn, right = ({name: sorted(of) for name, of in all_.items()} for all_ in (drawn, right))
    else:
        assert {name: curve.last for name, curve in found.items()} == {
            n: of[-1][1] for n, of in right.items()
        }
    assert drawn == right


def test_a_retry_replaces_what_it_did_again_and_nothing_before() -> None:
    first = [cases.row(step, 1, loss=1.0) for step in range(1, 11)]
    second = [cases.row(step, 2, loss=2.0) for step in range(6, 13)]
    found = read_curves(cases.rows(Path("m.jsonl"), *first, *second))["loss"]
    assert points(found) == [*((s, 1.0) for s in range(1, 6)), *((s, 2.0) for s in range(6, 13))]
    assert found.last == 2.0


def test_an_extreme_right_before_a_retry_is_kept_and_one_after_it_is_not(monkeypatch: Any) -> None:
    monkeypatch.setattr(curves, "BUCKETS", 4)
    first = [cases.row(step, 1, loss={499: 50.0, 501: 99.0}.get(step, 1.0)) for step in range(1, 600)]
    second = [cases.row(step, 2, loss=1.0) for step in range(500, 1000)]
    found = read_curves(cases.rows(Path("m.jsonl"), *first, *second))["loss"]
    assert max(b.high for b in found.buckets) == 50.0
    assert sum(b.count for b in found.buckets) == 999


def test_words_for_what_is_no_number_are_gaps() -> None:
    path = cases.rows(
        Path("m.jsonl"), *(cases.row(s, loss=v) for s, v in enumerate([1, "nan", "inf", None, 2]))
    )
    assert [(b.count, b.lost) for b in read_curves(path)["loss"].buckets] == [
        (1, 0),
        (0, 1),
        (0, 1),
        (0, 1),
        (1, 0),
    ]


@pytest.mark.parametrize(
    "broken", ['{"step": 1,', "[1, 2]", "nonsense", '{"metrics": 5}', '"word"', "", "{}, {}"]
)
def test_a_broken_line_costs_itself_alone(broken: str) -> None:
    good = [json.dumps(cases.row(step, loss=step)) for step in (1, 2)]
    path = cases.write(Path("m.jsonl"), f"{good[0]}\n{broken}\n{good[1]}\n" + '{"step": 3, "metr')
    assert points(read_curves(path)["loss"]) == [(1, 1.0), (2, 2.0)]


def test_very_many_metrics_cost_little_each() -> None:
    names = {f"layer/{k}": float(k) for k in range(1000)}
    found = read_curves(cases.rows(Path("m.jsonl"), *(cases.row(step, **names) for step in range(100))))
    assert len(found) == 1000
    assert sum(len(curve.buckets) for curve in found.values()) < 30_000
    assert all(math.isclose(curve.buckets[0].high, float(name[6:])) for name, curve in found.items())
