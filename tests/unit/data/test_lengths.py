"""Samples of about the same length come together, each still once an epoch."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nimble_lightning.data import make_loader
from nimble_lightning.data.lengths import grouped, lengths_of
from nimble_lightning.errors import TrainerError

TEXTS = [{"input_ids": [0] * (1 + 7 * index % 13)} for index in range(60)]


@given(lengths=st.lists(st.integers(1, 40), min_size=1, max_size=300), batch=st.integers(1, 9))
def test_the_order_is_that_of_transformers(lengths: list[int], batch: int) -> None:
    order = torch.randperm(len(lengths), generator=torch.Generator().manual_seed(3))
    utils = pytest.importorskip("transformers.trainer_pt_utils")
    theirs = utils.get_length_grouped_indices(lengths, batch, generator=torch.Generator().manual_seed(3))
    assert grouped(order, lengths, batch).tolist() == theirs


def test_every_sample_comes_once_and_batches_differ_less_in_length() -> None:
    def batches(lengths: list[int] | None) -> list[list[int]]:
        loader = make_loader(TEXTS, batch_size=4, shuffle=True, collate=list, lengths=lengths)
        return [[len(row["input_ids"]) for row in batch] for batch in loader]

    plain, together = batches(None), batches(lengths_of(TEXTS))
    assert sorted(sum(together, [])) == sorted(sum(plain, []))
    assert max(together[0]) == max(sum(plain, []))

    def spread(found: list[list[int]]) -> int:
        return sum(max(batch) - min(batch) for batch in found)

    assert spread(together) < spread(plain) / 2


def test_what_has_no_length_is_refused_in_words() -> None:
    with pytest.raises(TrainerError, match="have no input_ids to measure"):
        lengths_of([(1, 2), (3, 4)])


def test_a_hugging_face_dataset_says_its_lengths_in_a_column() -> None:
    datasets = pytest.importorskip("datasets")
    texts = datasets.Dataset.from_dict({"input_ids": [[1], [1, 2, 3]], "length": [7, 9]})
    assert lengths_of(texts) == [7, 9]
    assert lengths_of(texts.remove_columns("length")) == [1, 3]
