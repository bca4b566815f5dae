"""What is trained, what is decayed, and in which order."""

from __future__ import annotations

import torch
from torch import nn

from nimble_lightning.optim import parameter_groups
from nimble_lightning.optim.groups import trained_parameters


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(7, 4)
        self.conv = nn.Conv1d(4, 4, 1)
        self.norm = nn.LayerNorm([4, 4])
        self.gain = nn.Parameter(torch.ones(4))
        self.table_bias = nn.Parameter(torch.ones(2, 2))
        self.frozen = nn.Linear(4, 4).requires_grad_(False)
        self.head = nn.Linear(4, 7)


def names(module: nn.Module, group: dict[str, list[nn.Parameter]]) -> list[str]:
    known = {id(parameter): name for name, parameter in module.named_parameters()}
    return [known[id(parameter)] for parameter in group["params"]]


def test_biases_norms_and_vectors_are_not_decayed_and_frozen_weights_left_out() -> None:
    net = Net()
    decayed, spared = parameter_groups(net, weight_decay=0.1)
    assert (decayed["weight_decay"], spared["weight_decay"]) == (0.1, 0.0)
    assert names(net, decayed) == ["conv.weight", "head.weight", "words.weight"]
    assert names(net, spared) == ["conv.bias", "gain", "head.bias", "norm.bias", "norm.weight", "table_bias"]


def test_without_decay_there_is_one_group_sorted_by_name() -> None:
    net = Net()
    (group,) = parameter_groups(net)
    assert names(net, group) == sorted(name for name, one in net.named_parameters() if one.requires_grad)


def test_the_order_does_not_depend_on_how_modules_were_put_together() -> None:
    a, b = nn.Linear(2, 2), nn.Linear(2, 2)
    one = parameter_groups({"a": a, "b": b})
    other = parameter_groups({"b": b, "a": a})
    assert [id(p) for p in one[0]["params"]] == [id(p) for p in other[0]["params"]]


def test_a_shared_weight_is_trained_once_and_knows_all_its_owners() -> None:
    net = Net()
    net.head.weight = net.words.weight
    tied = [one for one in trained_parameters([net, net.head]) if one.parameter is net.words.weight]
    assert len(tied) == 1
    assert {type(owner) for owner in tied[0].owners} == {nn.Embedding, nn.Linear}


def test_an_empty_group_is_left_out() -> None:
    assert len(parameter_groups(nn.Linear(2, 2, bias=False), weight_decay=0.1)) == 1
    assert parameter_groups(nn.ReLU(), weight_decay=0.1) == []
