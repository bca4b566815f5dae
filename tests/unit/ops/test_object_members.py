from __future__ import annotations

from typing import Any

import torch

from nimble_lightning.ops.object_members import MOST_ITEMS, attributes, is_users, members, reachable


class Owner:
    def __init__(self) -> None:
        self.items = [1, (2, {"a": self})]


class Net(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
        self.count = 0


def test_everything_is_found_once_with_the_path_to_it() -> None:
    owner = Owner()
    found = {path: thing for path, thing, _ in reachable([("self", owner)])}
    assert list(found) == ["self", "self.items", "self.items[1]", "self.items[1][1]"]
    assert found["self.items[1][1]"] == {"a": owner}


def test_a_search_ends() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    assert len(list(reachable([("", deep)], most=1000))) == 1000
    assert not list(members(list(range(MOST_ITEMS + 1))))


def test_of_a_module_the_users_attributes_count_and_its_parts_are_entered() -> None:
    net = Net()
    assert attributes(net) == {"count": 0}
    assert {step for step, _ in members(net)} == {".count", ".layer"}
    assert ".weight" in {step for step, _ in members(net.layer)}


def test_of_an_optimizer_what_its_library_keeps_does_not_count() -> None:
    class Mine(torch.optim.AdamW):
        pass

    optimizer = Mine([torch.zeros(1, requires_grad=True)])
    torch.optim.lr_scheduler.StepLR(optimizer, 1)
    optimizer.calls = 3  # type: ignore[attr-defined]
    assert attributes(optimizer) == {"calls": 3}


def test_machinery_is_not_looked_into() -> None:
    import logging
    import threading

    for thing in (logging.getLogger(), threading.Lock(), torch.device("cpu"), Net, len):
        assert not is_users(thing)
        assert not list(members(thing))
