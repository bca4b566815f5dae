"""Rows are full, hold every text whole and once, and are the same each time."""

from __future__ import annotations

import random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nimble_lightning.llm.packing import IGNORED, Example, PackedRows, best_fit, collate_rows


@given(st.lists(st.integers(1, 40), max_size=60), st.integers(40, 60))
def test_each_text_is_in_one_row_that_has_room_for_it(lengths: list[int], room: int) -> None:
    rows = best_fit(lengths, room)
    assert sorted(number for row in rows for number in row) == list(range(len(lengths)))
    assert all(sum(lengths[number] for number in row) <= room for row in rows)
    assert rows == best_fit(lengths, room)


def test_rows_of_realistic_lengths_are_full() -> None:
    chance = random.Random(0)
    lengths = [min(2048, max(8, int(chance.lognormvariate(5.2, 1.0)))) for _ in range(3000)]
    packed = PackedRows([Example([1] * n, [1] * n) for n in lengths], 2048)
    assert packed.fullness >= 0.99


def test_positions_begin_anew_and_no_text_learns_its_first_token() -> None:
    rows = [[Example([5, 6, 7], [5, 6, 7]), Example([8, 9], [IGNORED, 9])], [Example([4], [4])]]
    batch = collate_rows(rows, pad=1)
    assert batch["input_ids"].tolist() == [[5, 6, 7, 8, 9], [4, 1, 1, 1, 1]]
    assert batch["position_ids"].tolist() == [[0, 1, 2, 0, 1], [0, 0, 1, 2, 3]]
    assert batch["labels"].tolist() == [[IGNORED, 6, 7, IGNORED, 9], [IGNORED] * 5]
    assert all(value.dtype == torch.long for value in batch.values())


@pytest.mark.parametrize("longest", [2, 3, 9])
def test_what_is_cut_says_so(longest: int) -> None:
    cut = Example([1, 2, 3], [IGNORED, 2, 3]).first(longest)
    assert (len(cut.ids), cut.cut, cut.trained) == (min(longest, 3), longest < 3, min(longest, 3) - 1)
