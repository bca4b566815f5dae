"""Batches are measured and cut whatever they are made of."""

from __future__ import annotations

import math
from collections import namedtuple
from collections.abc import Iterator

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nimble_lightning.errors import TrainerError
from nimble_lightning.ops.batches import can_split, real_tokens, shaped_tokens, size_of, split

Pair = namedtuple("Pair", ["x", "y"])


def _batches(n: int) -> list[object]:
    x, y = torch.arange(n * 3).reshape(n, 3), torch.arange(n)
    return [
        x,
        (x, y),
        [x, y],
        {"x": x, "y": y},
        Pair(x, y),
        {"a": {"x": x}, "names": [str(i) for i in range(n)]},
        [(x, y), {"z": x}],
    ]


@pytest.mark.parametrize("kind", range(7))
@given(n=st.integers(1, 9), size=st.integers(1, 10))
def test_pieces_hold_every_sample_once_in_order_and_at_most_size_of_them(
    kind: int, n: int, size: int
) -> None:
    batch = _batches(n)[kind]
    pieces = list(split(batch, size))
    assert size_of(batch) == n == sum(map(size_of, pieces))
    sizes = [size_of(p) for p in pieces]
    assert max(sizes) <= size
    assert len(sizes) == math.ceil(n / size)
    assert max(sizes) - min(sizes) <= 1, "or batch norm would meet pieces of one sample"
    assert all(type(p) is type(batch) for p in pieces)
    assert torch.equal(torch.cat([_first(p) for p in pieces]), _first(batch))


def test_pieces_are_views_of_the_batch() -> None:
    x = torch.zeros(4, 2)
    next(iter(split((x, x), 2)))[0].fill_(1)
    assert x[:2].sum() == 4


def test_values_that_belong_to_the_whole_batch_go_with_every_piece() -> None:
    pieces = list(split({"x": torch.zeros(4, 2), "scale": torch.tensor(2.0), "task": "parity"}, 3))
    assert [p["task"] for p in pieces] == ["parity", "parity"]
    assert [float(p["scale"]) for p in pieces] == [2.0, 2.0]


def test_texts_are_cut_with_their_tensors() -> None:
    first, second = split({"text": ["a", "b", "c"], "y": torch.arange(3)}, 2)
    assert first["text"] == ["a", "b"]
    assert second["text"] == ["c"]


def test_what_cannot_be_cut_says_so() -> None:
    assert not can_split(object())
    assert not can_split(torch.zeros(1, 3))
    assert can_split({"x": torch.zeros(2, 3)})


def _first(piece: object) -> torch.Tensor:
    while not isinstance(piece, torch.Tensor):
        piece = next(iter(piece.values())) if isinstance(piece, dict) else piece[0]  # type: ignore[index]
    return piece


class Texts:
    """Texts of unequal lengths in one row."""

    def __init__(self, ids: torch.Tensor, ends: list[int]) -> None:
        self.ids, self.ends = ids, ends

    def __len__(self) -> int:
        return len(self.ends)

    def split(self, size: int) -> Iterator[Texts]:
        for first in range(0, len(self), size):
            begin, ends = ([0, *self.ends])[first], self.ends[first : first + size]
            yield Texts(self.ids[begin : ends[-1]], [end - begin for end in ends])


def test_a_batch_that_knows_its_samples_is_asked() -> None:
    batch = Texts(torch.arange(21), [7, 12, 21])
    assert size_of(batch) == 3
    assert can_split(batch)
    assert [piece.ids.tolist() for piece in split(batch, 2)] == [list(range(12)), list(range(12, 21))]


@pytest.mark.parametrize(
    "batch", [{"x": torch.zeros(4, 2), "rows": torch.arange(7)}, [torch.zeros(7), torch.ones(5)]]
)
def test_a_tensor_of_another_length_goes_whole_to_no_piece(batch: object) -> None:
    with pytest.raises(TrainerError, match=r"split\(size\)"):
        list(split(batch, 2))


def test_what_is_one_for_all_goes_with_every_piece() -> None:
    pieces = list(split({"x": torch.zeros(4, 2), "mask": torch.zeros(1, 2)}, 2))
    assert [piece["mask"].shape[0] for piece in pieces] == [1, 1]


def test_what_is_padding_is_known_from_counts_or_from_the_mask() -> None:
    ids = torch.zeros(2, 5, dtype=torch.long)
    mask = torch.tensor([[1, 1, 1, 0, 0], [1, 0, 0, 0, 0]])
    assert real_tokens({"input_ids": ids}) == 10
    assert real_tokens({"input_ids": ids, "attention_mask": mask}) == 4
    assert real_tokens({"input_ids": ids, "num_tokens": torch.tensor([5, 2])}) == 7
    assert shaped_tokens({"input_ids": ids, "num_tokens": torch.tensor([5, 2])}) == 10


def test_something_else_of_that_name_is_no_count() -> None:
    ids = torch.zeros(2, 5, dtype=torch.long)
    assert real_tokens({"input_ids": ids, "num_tokens": ids}) == 10
    assert real_tokens({"input_ids": ids, "num_tokens": 3}) == 10


def test_batches_without_ids_have_no_tokens() -> None:
    assert real_tokens(torch.zeros(3)) is None
    assert real_tokens({"x": torch.zeros(3)}) is None
