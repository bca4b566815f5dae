"""Trials go to launchers that know nothing of them in batches whose numbers follow each other."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from nimble_lightning.cli.searching import _together


def batches(numbers: list[int], most: int) -> list[list[int]]:
    return [[number for number, _ in batch] for batch in _together(((n, []) for n in numbers), most)]


@pytest.mark.parametrize(
    ("numbers", "most", "expected"),
    [
        ([0, 1, 2, 3, 4], 2, [[0, 1], [2, 3], [4]]),
        ([3, 7, 8, 9], 4, [[3], [7, 8, 9]]),
        ([0, 1], 1, [[0], [1]]),
        ([], 3, []),
    ],
)
def test_jobs_are_put_together_by_number(numbers: list[int], most: int, expected: list[list[int]]) -> None:
    assert batches(numbers, most) == expected


def test_nobody_is_asked_for_more_before_a_whole_batch_has_been_run() -> None:
    asked: list[int] = []

    def ask() -> Iterator[tuple[int, list[str]]]:
        for number in range(4):
            asked.append(number)
            yield number, []

    batch = next(_together(ask(), 2))
    assert [number for number, _ in batch] == asked == [0, 1]
