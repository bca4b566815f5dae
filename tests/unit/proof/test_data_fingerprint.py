"""Data are recognised by what they hold; looking at them changes nothing, and costs no more than it says."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset, Subset, TensorDataset

from nimble_lightning.proof import data_fingerprint as module
from nimble_lightning.proof.data_fingerprint import fingerprint


class Drawn(Dataset[Any]):
    """Each sample draws from every source of random numbers there is."""

    def __len__(self) -> int:
        return 1000

    def __getitem__(self, index: int) -> Any:
        return {"x": torch.rand(3), "y": np.random.rand(), "index": index, "name": f"row {index}"}


def columns(rows: int = 100) -> tuple[torch.Tensor, np.ndarray]:
    return torch.arange(rows * 3).reshape(rows, 3), np.arange(rows)


def test_one_changed_number_in_all_of_a_dataset_is_seen() -> None:
    x, y = columns()
    before = fingerprint((x, y))
    assert before["covered"] == 1.0
    assert before == fingerprint((x.clone(), y.copy()))
    x[57, 1] += 1
    assert fingerprint((x, y))["sha256"] != before["sha256"]


def test_swapped_rows_shapes_and_types_are_seen() -> None:
    x, y = columns()
    swapped = x.clone()
    swapped[[3, 4]] = swapped[[4, 3]]
    others = [(swapped, y), (x.reshape(-1, 1), y), (x.to(torch.int32), y), (x, y[::-1])]
    digests = {fingerprint(other)["sha256"] for other in others}
    assert len(digests | {fingerprint((x, y))["sha256"]}) == 5


def test_large_data_are_covered_in_part_and_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_BYTES", 400)
    found = fingerprint(columns(1000)[0])
    assert found["bytes"] == 24_000
    assert 0 < found["covered"] < 0.05
    assert found == fingerprint(columns(1000)[0])


def test_samples_are_read_without_touching_the_runs_random_numbers() -> None:
    torch.manual_seed(1)
    np.random.seed(1)
    first = fingerprint(Drawn())
    drawn = torch.rand(1), np.random.rand()
    torch.manual_seed(1)
    np.random.seed(1)
    assert (torch.rand(1), np.random.rand()) == drawn
    assert first == fingerprint(Drawn())
    assert first["covered"] == 0.064


def test_wrappers_are_looked_through() -> None:
    x, _ = columns()
    plain = fingerprint(x)
    assert fingerprint(TensorDataset(x))["sha256"] == plain["sha256"]
    assert fingerprint(DataLoader(TensorDataset(x)))["sha256"] == plain["sha256"]
    part = fingerprint(Subset(TensorDataset(x), [1, 2]))
    assert (part["rows"], part["of"]["sha256"]) == (2, plain["sha256"])


def test_hugging_faces_own_fingerprint_is_taken() -> None:
    from datasets import Dataset as Rows

    rows = Rows.from_dict({"a": [1, 2, 3]})
    assert fingerprint(rows) == {
        "kind": "hugging_face",
        "rows": 3,
        "sha256": None,
        "fingerprint": rows._fingerprint,
    }


def test_what_can_be_read_only_once_is_not_read() -> None:
    def stream() -> Any:
        raise AssertionError("it was read")

    assert fingerprint(stream)["covered"] == 0.0
