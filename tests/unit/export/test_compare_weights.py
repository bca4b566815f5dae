from __future__ import annotations

import torch
from torch import nn

from nimble_lightning.export.compare_weights import fingerprint, first_difference, is_sharded, untouched


def test_weights_that_were_not_trained_are_recognised() -> None:
    model = nn.Linear(4, 4)
    base = fingerprint(model)
    assert untouched(model, base)
    with torch.no_grad():
        model.weight[0, 0] = torch.nextafter(model.weight[0, 0], torch.tensor(9.0))
    assert not untouched(model, base)


def test_without_a_base_nothing_is_known_to_be_untouched() -> None:
    assert not untouched(nn.Linear(2, 2), None)
    assert not untouched(nn.ReLU(), {})


def test_weights_that_are_not_there_yet_have_no_fingerprint() -> None:
    assert fingerprint(nn.LazyLinear(2)) == {}
    assert fingerprint(nn.Linear(2, 2, device="meta")) == {}


def test_one_bit_in_any_type_is_a_difference() -> None:
    for value in (
        torch.zeros(3),
        torch.zeros(3, dtype=torch.bfloat16),
        torch.zeros(3, dtype=torch.int64),
        torch.zeros(3, dtype=torch.bool),
        torch.zeros(3, dtype=torch.complex64),
        torch.tensor(0.0),
    ):
        other = value.clone()
        assert first_difference({"x": value}, {"x": other}) is None
        other.reshape(-1)[-1] = 1
        assert first_difference({"x": value}, {"x": other}) == "x has other values"


def test_a_number_that_is_none_equals_itself_and_zeros_differ_by_their_sign() -> None:
    nan = torch.tensor([float("nan")])
    assert first_difference({"x": nan}, {"x": nan.clone()}) is None
    assert first_difference({"x": torch.tensor([0.0])}, {"x": torch.tensor([-0.0])}) is not None


def test_missing_entries_and_other_shapes_and_types_are_named() -> None:
    value = torch.zeros(2)
    assert first_difference({"x": value}, {}) == "x is missing"
    assert first_difference({"x": value}, {"x": torch.zeros(3)}) == "x is float32 [3] instead of float32 [2]"
    assert "float64" in str(first_difference({"x": value}, {"x": value.double()}))


def test_a_model_on_one_device_is_not_sharded() -> None:
    assert not is_sharded(nn.Linear(2, 2))
