from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from loader_cases import N, over_ranks, plain, resumes_exactly, train
from torch.utils.data import Subset, TensorDataset, random_split

from nimble_lightning.data import make_loader
from nimble_lightning.data.sliced_loader import SlicedLoader
from nimble_lightning.errors import TrainerError

X, Y = torch.arange(N), torch.arange(N) * 10


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("source", [X, (X, Y), {"x": X, "y": Y}, TensorDataset(X, Y)])
def test_a_resume_at_any_batch_gives_what_would_have_come(source: Any, shuffle: bool) -> None:
    resumes_exactly(lambda: make_loader(source, batch_size=4, shuffle=shuffle))


@pytest.mark.parametrize(
    ("source", "batch"),
    [
        (X, [0, 1]),
        (X.numpy(), [0, 1]),
        ((X, Y), [[0, 1], [0, 10]]),
        ([X, Y.numpy()], [[0, 1], [0, 10]]),
        ({"x": X, "y": Y}, {"x": [0, 1], "y": [0, 10]}),
        (TensorDataset(X, Y), [[0, 1], [0, 10]]),
        (Subset(TensorDataset(X, Y), [3, 1, 2]), [[3, 1], [30, 10]]),
        (Subset(Subset(TensorDataset(X), [3, 1, 2]), [2, 0]), [[2, 3]]),
    ],
)
def test_batches_come_in_the_container_the_columns_came_in(source: Any, batch: Any) -> None:
    loader = make_loader(source, batch_size=2, shuffle=False)
    assert isinstance(loader, SlicedLoader)
    first = next(iter(loader))
    assert plain(first) == batch
    expected = {TensorDataset: list, Subset: list, np.ndarray: torch.Tensor}.get(type(source), type(source))
    assert type(first) is expected


def test_without_shuffling_batches_are_views_of_the_data() -> None:
    batch = next(iter(make_loader(X, batch_size=4, shuffle=False)))
    assert batch.data_ptr() == X.data_ptr()


def test_rows_of_all_columns_stay_together_when_shuffled() -> None:
    for x, y in make_loader((X, Y), batch_size=4, shuffle=True):
        assert torch.equal(x * 10, y)


def test_both_halves_of_a_random_split_are_sliced_and_hold_every_sample_once() -> None:
    parts = random_split(TensorDataset(X), [15, 7], generator=torch.Generator())
    seen = [plain(batch[0]) for part in parts for batch in make_loader(part, batch_size=4, shuffle=True)]
    assert sorted(sum(seen, [])) == list(range(N))


def test_ranks_share_each_global_batch() -> None:
    zero, one = (train(rank) for rank in over_ranks(lambda: X, 2))
    alone = train(make_loader(X, batch_size=8, shuffle=True))
    assert [a + b for a, b in zip(zero, one, strict=True)] == alone


def test_a_collate_function_gets_the_rows_as_samples() -> None:
    loader = make_loader({"x": X, "y": Y}, batch_size=2, shuffle=False, collate=list)
    assert plain(next(iter(loader))) == [{"x": 0, "y": 0}, {"x": 1, "y": 10}]


def test_columns_of_unequal_length_are_named_with_their_lengths() -> None:
    with pytest.raises(TrainerError, match="x: 22, y: 21"):
        make_loader({"x": X, "y": Y[1:]}, batch_size=2, shuffle=False)
    with pytest.raises(TrainerError, match="0: 22, 1: 21"):
        make_loader([X, Y[1:]], batch_size=2, shuffle=False)


def test_a_column_that_holds_no_numbers_is_named() -> None:
    with pytest.raises(TrainerError, match="column 'text' of the dataset is a list"):
        make_loader({"x": X, "text": ["a"] * N}, batch_size=2, shuffle=False)
    with pytest.raises(TrainerError, match="array of <U1"):
        make_loader(np.array(["a", "b"]), batch_size=2, shuffle=False)
    with pytest.raises(TrainerError, match="not a tensor or an array of rows"):
        make_loader(torch.tensor(3.0), batch_size=2, shuffle=False)


def test_arrays_are_shared_and_those_that_cannot_be_are_copied() -> None:
    frozen = np.arange(4.0)
    frozen.flags.writeable = False
    assert plain(next(iter(make_loader(frozen, batch_size=4, shuffle=False)))) == [0, 1, 2, 3]
    backwards = np.arange(4)[::-1]
    assert plain(next(iter(make_loader(backwards, batch_size=4, shuffle=False)))) == [3, 2, 1, 0]
    array = np.zeros(4)
    loader = make_loader(array, batch_size=4, shuffle=False)
    array[0] = 5
    assert plain(next(iter(loader))) == [5, 0, 0, 0]
