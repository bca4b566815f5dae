from __future__ import annotations

from typing import Any

import datasets
import pytest
import torch

from nimble_lightning.data import make_loader
from nimble_lightning.errors import RequestError, TrainerError

ROWS = datasets.Dataset.from_dict({"x": [1, 2]})


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (None, "None cannot be used as data. Usable are tensors"),
        (3, "3 cannot be used as data"),
        ("train.csv", "'train.csv' cannot be used as data"),
        (object(), "a object cannot be used as data"),
        (list, "list is a class; give an instance"),
        (iter([1]), "a list_iterator can be read only once"),
        (datasets.DatasetDict(train=ROWS, test=ROWS), "choose one of 'train', 'test'"),
        ({}, "no columns at all"),
    ],
)
def test_what_cannot_be_used_is_refused_with_the_way_out(source: Any, message: str) -> None:
    with pytest.raises(TrainerError, match=message):
        make_loader(source, batch_size=2, shuffle=True)


@pytest.mark.parametrize(
    "options", [{"batch_size": 0}, {"num_workers": -1}, {"rank": 2, "world_size": 2}, {"rank": -1}]
)
def test_impossible_numbers_are_refused(options: dict[str, int]) -> None:
    with pytest.raises(RequestError):
        make_loader(torch.arange(4), **{"batch_size": 2, "shuffle": True, **options})


def test_a_loader_of_ours_is_taken_as_it_is() -> None:
    loader = make_loader(torch.arange(4), batch_size=2, shuffle=True)
    assert make_loader(loader, batch_size=3, shuffle=False) is loader


def test_a_list_of_samples_is_not_taken_for_columns() -> None:
    samples = [torch.full((3,), float(index)) for index in range(10)]
    assert next(iter(make_loader(samples, batch_size=5, shuffle=False))).shape == (5, 3)
