"""Numbers, times and sizes as people write them."""

from __future__ import annotations

import math
from typing import Any

import pytest

from nimble_lightning.report import quantities


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.97512, "0.9751"),
        (1234567, "1,234,567"),
        (12345.678, "12,346"),
        (-0.5, "−0.5"),
        (3e-9, "3e-9"),
        (1.5e17, "1.5e17"),
        (2.0, "2"),
        (math.nan, "nan"),
        (-math.inf, "−∞"),
        (True, "True"),
        ("word", "word"),
    ],
)
def test_numbers_are_short(value: Any, text: str) -> None:
    assert quantities.number(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.58, "0.58 s"),
        (42.4, "42 s"),
        (90, "1 min 30 s"),
        (3600, "1 h"),
        (90061, "1 d 1 h"),
        (None, "unknown"),
    ],
)
def test_durations_have_two_units_at_most(seconds: Any, text: str) -> None:
    assert quantities.duration(seconds) == text


def test_moments_are_the_same_everywhere() -> None:
    assert quantities.clock(1_700_000_000.0) == "2023-11-14 22:13 UTC"
    assert quantities.clock("soon") == "unknown"


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (1500, "1.5 kB"), (7.2e9, "7.2 GB"), (None, "unknown")]
)
def test_sizes_have_the_unit_that_fits(count: Any, text: str) -> None:
    assert quantities.size(count) == text
