"""A metrics.csv gives the same curves as a metrics.jsonl."""

from __future__ import annotations

from pathlib import Path

import report_cases as cases

from nimble_lightning.report.metrics_csv import read_table


def test_lightnings_own_table_is_read() -> None:
    text = "epoch,step,train_loss,val/acc\n0,9,0.5,\n0,9,,0.25\n1,19,0.125,\n"
    found = read_table(cases.write(Path("metrics.csv"), text))
    assert {n: [(b.x, b.low) for b in c.buckets] for n, c in found.items()} == {
        "train_loss": [(9, 0.5), (19, 0.125)],
        "val/acc": [(9, 0.25)],
    }


def test_a_later_attempt_counts() -> None:
    text = "step,epoch,time,attempt,loss\n1,0,1,1,5\n2,0,2,1,6\n2,0,3,2,7\ntorn,0"
    found = read_table(cases.write(Path("metrics.csv"), text))
    assert [(b.x, b.low) for b in found["loss"].buckets] == [(1, 5.0), (2, 7.0)]


def test_an_empty_table_has_no_curves() -> None:
    assert read_table(cases.write(Path("metrics.csv"), "")) == {}
