"""What is compared stands in one chart, and what matters comes first."""

from __future__ import annotations

from nimble_lightning.notifications.events import Event
from nimble_lightning.report import chart_panels
from nimble_lightning.report.curves import Curve
from nimble_lightning.report.downsample import Downsampled


def curves(*names: str) -> dict[str, Curve]:
    keeper = Downsampled(8)
    keeper.extend([0, 1], [0.5, 0.25])
    return {name: Curve(name, keeper.buckets, 1, 0.25) for name in names}


def test_stages_of_a_metric_share_a_chart() -> None:
    names = [
        "val_loss",
        "train_loss",
        "accuracy",
        "train/accuracy",
        "lr-AdamW/pg1",
        "lr-AdamW/pg2",
        "grad_norm",
    ]
    drawn, _ = chart_panels.plots(curves(*names, "aux_loss", "timer/total"), [])
    assert [(plot.title, [line.name for line in plot.lines]) for plot in drawn] == [
        ("loss", ["train_loss", "val_loss"]),
        ("aux_loss", ["aux_loss"]),
        ("accuracy", ["train/accuracy", "accuracy"]),
        ("Learning rate", ["lr-AdamW/pg1", "lr-AdamW/pg2"]),
        ("Gradient norm", ["grad_norm"]),
        ("timer/total", ["timer/total"]),
    ]


def test_what_is_too_much_to_draw_is_listed() -> None:
    names = [f"metric_{k:03d}" for k in range(100)]
    drawn, listed = chart_panels.plots(curves(*names), [])
    assert len(drawn) == chart_panels.MOST_PANELS
    assert len(listed) == 100 - chart_panels.MOST_PANELS
    assert (listed[0].last, listed[0].low, listed[0].high) == (0.25, 0.25, 0.5)


def test_one_chart_holds_no_more_lines_than_can_be_told_apart() -> None:
    drawn, listed = chart_panels.plots(curves(*(f"lr/{k}" for k in range(10))), [])
    assert len(drawn[0].lines) == chart_panels.MOST_LINES
    assert len(listed) == 10 - chart_panels.MOST_LINES


def test_restarts_are_marked_where_the_run_went_on_and_events_where_they_happened() -> None:
    attempts = [
        {"number": 1, "first_step": 0, "start": 100.0, "reason": "killed"},
        {"number": 2, "first_step": 7, "start": 160.0, "cause": "hang"},
        {"number": 3, "first_step": 5, "start": 190.0},
    ]
    happened = [Event("non_finite", {"step": 9, "reason": "the gradient is nan"}), Event("best", {"step": 3})]
    marks = chart_panels.step_marks(attempts, happened)
    restarts = [(mark.x, mark.text) for mark in marks if mark.kind == "retry"]
    assert restarts == [
        (5.0, "attempt 3 goes on from step 5: hang"),
        (7.0, "attempt 2 goes on from step 7: killed"),
    ]
    assert [mark.x for mark in marks if "the gradient is nan" in mark.text] == [9.0]
    assert [mark.x for mark in chart_panels.time_marks(attempts, 100.0)] == [60.0, 90.0]
