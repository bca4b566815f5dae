"""A snapshot equals the state it was taken of and shares nothing with it."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

import torch

from nimble_lightning.checkpoint.async_io import Snapshots


def test_types_values_and_attributes_are_kept() -> None:
    module = torch.nn.BatchNorm1d(3)
    live = {"state_dict": module.state_dict(), "list": [1, (2.0, None)], "set": {1}, "path": Path("a")}
    twin = Snapshots().take(live)
    assert type(twin["state_dict"]) is OrderedDict
    assert twin["state_dict"]._metadata == module.state_dict()._metadata
    assert {k: v for k, v in twin.items() if k != "state_dict"} == {
        k: v for k, v in live.items() if k != "state_dict"
    }
    for name, tensor in module.state_dict().items():
        assert torch.equal(twin["state_dict"][name], tensor)
        assert twin["state_dict"][name].data_ptr() != tensor.data_ptr()


def test_containers_and_gradients_are_not_shared() -> None:
    live = {"scores": [[1]], "weight": torch.nn.Parameter(torch.ones(2))}
    twin = Snapshots().take(live)
    live["scores"][0].append(2)
    assert twin["scores"] == [[1]]
    assert not twin["weight"].requires_grad


def test_tied_weights_stay_tied() -> None:
    weight = torch.randn(4)
    twin = Snapshots().take({"a": weight, "b": weight, "view": weight[:2]})
    assert twin["a"] is twin["b"]
    assert torch.equal(twin["view"], weight[:2])


def test_odd_layouts_are_copied() -> None:
    live = {
        "sparse": torch.eye(3).to_sparse(),
        "transposed": torch.arange(6).view(2, 3).t(),
        "expanded": torch.ones(1).expand(3),
        "empty": torch.empty(0),
    }
    twin = Snapshots().take(live)
    assert torch.equal(twin["sparse"].to_dense(), torch.eye(3))
    for name in ("transposed", "expanded", "empty"):
        assert torch.equal(twin[name], live[name])


def test_the_memory_is_used_again_also_when_the_state_changes() -> None:
    snapshots = Snapshots()
    first = snapshots.take({"a": torch.ones(4), "b": torch.ones(4)})
    address = first["a"].data_ptr()
    second = snapshots.take({"a": torch.zeros(4), "b": torch.zeros(5), "c": torch.full((4,), 7)})
    assert second["a"].data_ptr() == address
    assert [second[name].tolist() for name in "abc"] == [[0] * 4, [0] * 5, [7] * 4]
