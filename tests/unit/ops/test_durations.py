"""Lengths of time as people write them."""

from __future__ import annotations

import pytest

from nimble_lightning.errors import RequestError
from nimble_lightning.ops.durations import in_seconds


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (90, 90),
        (0.5, 0.5),
        ("90", 90),
        ("90s", 90),
        ("90m", 5400),
        ("2h", 7200),
        ("1.5h", 5400),
        ("1h30m", 5400),
        ("1d 2h", 93600),
        ("02:30:00", 9000),
        ("00:12:00:00", 43200),
        ("1:00:00:01", 86401),
    ],
)
def test_it_is_read(text: float | str, seconds: float) -> None:
    assert in_seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "0", -5, "10 parsecs", "1:30", "nan"])
def test_what_is_no_length_of_time_is_refused_by_name(text: float | str) -> None:
    with pytest.raises(RequestError, match="max_time=.* is no length of time"):
        in_seconds(text, "max_time")
