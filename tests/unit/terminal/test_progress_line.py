from __future__ import annotations

import pytest

from nimble_lightning.terminal.progress_line import ProgressPosition, Rate, duration, line


def test_a_line_says_where_how_well_how_fast_and_until_when() -> None:
    at = ProgressPosition(1200, 4000, "train", 3, 10, 16.0, 32, None, {"loss": 0.1234567, "accuracy": 0.97})
    said = line(at, 100)
    assert said == "epoch 3/10  step 1200/4000  30 %  loss 0.1235  accuracy 0.97  512 samples/s  ETA 2:55"


def test_without_an_end_there_is_neither_a_percentage_nor_an_eta() -> None:
    assert line(ProgressPosition(7, None, "train", 1, None, 2.0)) == "epoch 1  step 7  2 steps/s"


def test_texts_go_by_tokens() -> None:
    at = ProgressPosition(1200, 4000, "train", 3, 10, 16.0, 32, 65536.0)
    assert line(at, 100) == "epoch 3/10  step 1200/4000  30 %  1,048,576 tokens/s  ETA 2:55"


def test_an_evaluation_is_named() -> None:
    assert line(ProgressPosition(3, 12, "validate")) == "validate  step 3/12  25 %"


@pytest.mark.parametrize("width", [20, 40, 80])
def test_a_line_never_exceeds_its_width(width: int) -> None:
    metrics = {f"a_long_metric_name_{i}": 1.23456 for i in range(5)}
    assert (
        len(line(ProgressPosition(123456, 999999, "train", 3, 10, 16.0, 32, None, metrics), width)) <= width
    )


def test_metrics_give_way_before_the_eta_does() -> None:
    said = line(ProgressPosition(1, 4, "train", 1, 1, 1.0, None, None, {"loss": 1.0, "x" * 60: 2.0}), 80)
    assert "loss 1" in said
    assert "xxx" not in said
    assert said.endswith("ETA 0:03")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0:00"), (12.4, "0:12"), (59.6, "1:00"), (3723, "1:02:03"), (183845, "2d 3:04:05"), (-1, "0:00")],
)
def test_durations_read_like_a_clock(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_a_duration_of_days_keeps_its_hours_even_when_there_are_none() -> None:
    assert duration(2 * 86400 + 62) == "2d 0:01:02"


def test_the_rate_starts_where_the_run_resumed() -> None:
    rate = Rate()
    rate.add(0.0, 5000)
    assert rate.per_second() is None
    rate.add(10.0, 5020)
    assert rate.per_second() == pytest.approx(2.0)


def test_the_rate_forgets_what_is_more_than_a_minute_old() -> None:
    rate = Rate()
    rate.add(0.0, 0)
    for second in range(1, 201):
        rate.add(float(second), min(second, 100) + 10 * max(second - 100, 0))
    assert rate.per_second() == pytest.approx(10.0)


def test_a_note_comes_after_the_metrics_and_gives_way_first() -> None:
    at = ProgressPosition(1, 4, "train", 1, 1, 1.0, None, None, {"loss": 1.0}, note="GPU 93 % 71 °C")
    assert line(at, 100) == "epoch 1/1  step 1/4  25 %  loss 1  GPU 93 % 71 °C  1 steps/s  ETA 0:03"
    assert line(at, 60) == "epoch 1/1  step 1/4  25 %  loss 1  1 steps/s  ETA 0:03"
