"""What a sweep came to: a table, an exit code, a figure to optimise."""

from __future__ import annotations

from pathlib import Path

import pytest

from nimble_lightning.sweeps.outcomes import MemberOutcome
from nimble_lightning.sweeps.summary_table import exit_code, table


def job(number: int, code: int = 0, words: tuple[str, ...] = ()) -> MemberOutcome:
    status = {0: "finished", 1: "failed"}.get(code, "stopped")
    return MemberOutcome(
        number, words, status, code, Path.cwd() / str(number), ("accuracy", 0.5) if code == 0 else None, 1.25
    )


def test_the_table_shows_what_differs_and_where_it_is() -> None:
    lines = table([job(0, 0, ("a=1", "b=x y")), job(1, 1, ("a=2", "b=x y"))]).splitlines()
    assert lines[0].split() == ["job", "overrides", "status", "metric", "time", "folder"]
    assert lines[1].split() == ["0", "a=1", "finished", "accuracy=0.5", "1.2", "s", "0"]
    assert lines[2].split() == ["1", "a=2", "failed", "-", "1.2", "s", "1"]


@pytest.mark.parametrize(
    ("codes", "expected"),
    [([0, 0], 0), ([0, 1], 1), ([3, 0], 3), ([3, 1], 1), ([1, 130], 130), ([0, 2], 2), ([], 0)],
)
def test_the_worst_job_decides_the_exit_code(codes: list[int], expected: int) -> None:
    assert exit_code([job(n, code) for n, code in enumerate(codes)]) == expected
