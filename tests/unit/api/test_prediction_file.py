"""Rows of predictions: one a sample, or refused; files that are whole or not there."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pyarrow import parquet

from nimble_lightning.api import prediction_file as module
from nimble_lightning.api.prediction_file import prediction_file, rows_of
from nimble_lightning.errors import RequestError, TrainerError


@pytest.mark.parametrize(
    ("predicted", "rows"),
    [
        (torch.tensor([1.5, 2.5]), [{"prediction": 1.5}, {"prediction": 2.5}]),
        (torch.ones(2, 2, dtype=torch.bfloat16), [{"prediction": [1.0, 1.0]}] * 2),
        (torch.ones(2, requires_grad=True), [{"prediction": 1.0}] * 2),
        (np.array([1, 2]), [{"prediction": 1}, {"prediction": 2}]),
        (["a", "b"], [{"prediction": "a"}, {"prediction": "b"}]),
        ({"p": torch.tensor([1, 2]), "text": ["a", None]}, [{"p": 1, "text": "a"}, {"p": 2, "text": None}]),
        ([{"p": torch.tensor(1)}, {"p": np.float32(2)}], [{"p": 1}, {"p": 2.0}]),
    ],
)
def test_each_sample_has_a_row(predicted: Any, rows: list[dict[str, Any]]) -> None:
    found = rows_of(predicted, 2)
    assert found == rows
    assert json.loads(json.dumps(found)) == rows


@pytest.mark.parametrize(
    ("predicted", "said"),
    [
        (torch.ones(3, 2), r"Tensor of shape \(3, 2\) for a batch of 2"),
        (torch.tensor(1.0), r"shape \(\)"),
        ({"loss": torch.tensor(1.0)}, "as 'loss'"),
        ((torch.ones(2), torch.ones(2)), "a tuple"),
        (["a"], "a list of 1"),
        (None, "a NoneType"),
        ({}, "empty"),
        ([object(), object()], "a object"),
        (torch.ones(2, dtype=torch.complex64), "a complex"),
    ],
)
def test_what_has_no_row_a_sample_is_refused_with_what_was_found(predicted: Any, said: str) -> None:
    with pytest.raises(TrainerError, match=said):
        rows_of(predicted, 2)


def write(path: Path, *batches: list[Any] | BaseException, force: bool = False) -> None:
    with prediction_file(path, force=force) as take:
        for batch in batches:
            if isinstance(batch, BaseException):
                raise batch
            take(batch)


def test_json_lines_have_no_numbers_that_json_lacks(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", [{"p": float("nan"), "q": [float("-inf"), 1.0]}], [{"other": "é"}])
    lines = (tmp_path / "a.jsonl").read_text(encoding="utf-8").splitlines()
    assert lines == ['{"p": "nan", "q": ["-inf", 1.0]}', '{"other": "é"}']


def test_parquet_keeps_types_over_many_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_GROUP", 2)
    rows = [{"index": number, "p": [number / 2, float("inf")]} for number in range(5)]
    write(tmp_path / "a.parquet", *([row] for row in rows))
    assert parquet.read_table(tmp_path / "a.parquet").to_pylist() == rows


@pytest.mark.parametrize("name", ["a.csv", "a.parquet"])
def test_a_table_has_the_same_columns_throughout(tmp_path: Path, name: str) -> None:
    with pytest.raises(TrainerError, match="q for a sample, and p for the first"):
        write(tmp_path / name, [{"p": 1}], [{"q": 1}])
    assert os.listdir(tmp_path) == []


def test_values_of_several_types_are_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(TrainerError, match="several types"):
        write(tmp_path / "a.parquet", [{"p": 1}, {"p": "one"}])


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.parquet"])
def test_what_is_there_stays_unless_the_new_file_is_whole(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("old")
    with pytest.raises(RequestError, match="--force"):
        write(tmp_path / name)
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / name, [{"p": 1}], KeyboardInterrupt(), force=True)
    assert (tmp_path / name).read_text() == "old"
    write(tmp_path / name, [{"p": 1}], force=True)
    assert os.listdir(tmp_path) == [name]
    assert (tmp_path / name).read_bytes() != b"old"


def test_a_name_that_says_no_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"\.jsonl, \.csv, \.parquet"):
        write(tmp_path / "a.txt")
    with pytest.raises(RequestError, match="cannot be written"):
        write(tmp_path / "no/a.csv")
