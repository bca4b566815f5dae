"""Equal samples are found, whatever the data is; different ones never are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset, TensorDataset

from nimble_lightning.validators.sample_fingerprints import (
    Overlap,
    fingerprint,
    fingerprints,
    is_comparable,
    overlap,
)

X = torch.arange(40.0).reshape(10, 4)
Y = torch.arange(10) % 3


class Rows(Dataset[Any]):
    def __len__(self) -> int:
        return len(X)

    def __getitem__(self, index: int) -> Any:
        return X[index], Y[index]


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Iterator[Any]:
        return iter(Rows()[index] for index in range(len(X)))


SOURCES = {
    "columns": (X, Y),
    "arrays": (X.numpy(), Y.numpy()),
    "tensor dataset": TensorDataset(X, Y),
    "subset": Subset(TensorDataset(X, Y), range(10)),
    "dataset": Rows(),
    "subset of a dataset": Subset(Rows(), range(10)),
    "stream": Stream(),
    "function": lambda: iter(Stream()),
    "loader": DataLoader(Rows(), batch_size=4, shuffle=True),
}


@pytest.mark.parametrize("name", SOURCES)
def test_the_same_samples_are_the_same_in_any_kind_of_data(name: str) -> None:
    source = SOURCES[name]
    assert sorted(fingerprints(source)) == sorted(fingerprints((X, Y)))
    known = set(fingerprints((X[7:], Y[7:])))
    found = overlap(known, source, seconds=60)
    assert (found.found, found.checked, found.complete) == (3, 10, True)


def test_a_part_of_a_dataset_has_only_the_samples_of_that_part() -> None:
    assert list(fingerprints(Subset(Rows(), [3, 1]))) == list(fingerprints((X[[3, 1]], Y[[3, 1]])))


def test_a_search_that_has_no_time_says_how_far_it_came() -> None:
    found = overlap(set(), (X, Y), seconds=-1)
    assert (found, found.complete) == (Overlap(0, 0, 10), False)
    assert overlap(set(), Stream(), seconds=-1).size is None


class Augmented(Rows):
    def __getitem__(self, index: int) -> Any:
        return X[index] + torch.rand(4), Y[index]


def test_samples_that_are_new_each_time_are_not_compared() -> None:
    assert not is_comparable(Augmented())
    assert overlap(set(), Augmented(), seconds=60) == Overlap(0, 0, 10)
    assert is_comparable(Rows())


class Batches:
    batch_size = 2

    def __iter__(self) -> Iterator[Any]:
        return iter([X[:2], X[2:4]])


def test_batches_that_somebody_else_made_are_not_taken_for_samples() -> None:
    assert not is_comparable(Batches())


LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-5, 5),
    st.floats(allow_nan=False, width=32).filter(lambda x: str(x) != "-0.0"),
    st.text(max_size=4),
    st.binary(max_size=4),
)
SAMPLES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=2), inner, max_size=3)
    ),
    max_leaves=6,
)


def same(one: Any, other: Any) -> bool:
    """Equality that tells 1 from True and from 1.0."""
    if type(one) is not type(other):
        return False
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[k], other[k]) for k in one)
    return bool(one == other)


@settings(deadline=None)
@given(SAMPLES, SAMPLES)
def test_fingerprints_are_equal_exactly_for_equal_samples(one: Any, other: Any) -> None:
    assert (fingerprint(one) == fingerprint(other)) is same(one, other)


def test_kind_shape_and_order_of_numbers_count() -> None:
    pairs = [
        (X, X.double()),
        (X, X.reshape(4, 10)),
        (torch.tensor([1, 2]), torch.tensor([2, 1])),
        (["ab", "c"], ["a", "bc"]),
        ([[1], 2], [[1, 2]]),
        (b"a", "a"),
        (torch.zeros(2), torch.zeros(3)),
        ({"a": 1, "b": 2}, {"a": 2, "b": 1}),
    ]
    for one, other in pairs:
        assert fingerprint(one) != fingerprint(other)
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})
    assert fingerprint(X) == fingerprint(X.numpy().copy()) == fingerprint(X.t().contiguous().t())
    assert fingerprint(X.bfloat16()) == fingerprint(X.bfloat16().clone())
    assert fingerprint(np.float32(1)) == fingerprint(np.float32(1))
