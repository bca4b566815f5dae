from __future__ import annotations

import numpy as np
import torch

from nimble_lightning.data.fetch import collate_columns, collate_rows


def test_numbers_become_tensors_and_nothing_else_does() -> None:
    batch = collate_rows([{"n": 1, "flag": True, "text": "a", "none": None, "empty": []}] * 2)
    assert torch.equal(batch["n"], torch.tensor([1, 1]))
    assert batch["flag"].dtype is torch.bool
    assert (batch["text"], batch["none"], batch["empty"]) == (["a", "a"], [None, None], [[], []])


def test_tensors_and_arrays_are_stacked_where_their_shapes_agree() -> None:
    same, other = torch.zeros(2), torch.zeros(3)
    batch = collate_columns({"same": [same, same], "other": [same, other], "array": [np.zeros(2)] * 2})
    assert batch["same"].shape == batch["array"].shape == (2, 2)
    assert batch["other"] == [same, other]
    ragged = collate_columns({"array": [np.zeros(2), np.zeros(3)]})["array"]
    assert [len(array) for array in ragged] == [2, 3]


def test_a_column_that_is_stacked_already_stays_as_it_is() -> None:
    column = torch.zeros(2, 2)
    batch = collate_columns({"tensor": column, "array": np.zeros(2), "texts": np.array(["a"])})
    assert batch["tensor"] is column
    assert isinstance(batch["array"], torch.Tensor)
    assert isinstance(batch["texts"], np.ndarray)
