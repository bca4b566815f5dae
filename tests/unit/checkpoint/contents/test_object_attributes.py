from __future__ import annotations

import io
import itertools
from typing import Any

import numpy as np
import pytest
import torch

from nimble_lightning.checkpoint.contents import object_attributes
from nimble_lightning.checkpoint.contents.object_attributes import Attributes


class Part:
    def __init__(self) -> None:
        self.count = 0
        self.rng = np.random.default_rng(1)


class Owner:
    """As `pre_process` leaves it."""

    def __init__(self) -> None:
        self.count = 0
        self.history: list[Any] = []
        self.same = self.history
        self.part = Part()
        self.parts = [Part(), self.part]
        self.mean = self.zeros = torch.zeros(2)
        self.table = {"a": np.zeros(3)}
        self.kept = 1


def through_a_checkpoint(state: Any) -> Any:
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def moved(owner: Any, watched: Attributes, **options: Any) -> Any:
    """Another one, as another process makes it, with what changed in this one."""
    other = type(owner)()
    lost = Attributes({"self": other}, **options).restore(through_a_checkpoint(watched.state()))
    assert not lost
    return other


def test_what_did_not_change_is_not_saved() -> None:
    state = Attributes({"self": Owner()}).state()
    assert state == {"contents": {}, "attributes": {}, "new": []}


def test_what_changed_is_put_back_and_nothing_else() -> None:
    owner = Owner()
    watched = Attributes({"self": owner})
    owner.count, owner.part.count, owner.new = 3, 4, {"k": owner.history}  # type: ignore[attr-defined]
    owner.history.append(owner.part)
    owner.mean = owner.mean + 1
    owner.table["a"][1] = 5
    owner.part.rng.random(7)
    del owner.kept
    other = moved(owner, watched)
    assert (other.count, other.part.count) == (3, 4)
    assert other.same is other.history is other.new["k"]
    assert other.history == [other.part]
    assert other.parts[1] is other.part
    assert other.mean.tolist() == [1, 1]
    assert other.zeros.tolist() == [0, 0]
    assert other.table["a"].tolist() == [0, 5, 0]
    assert other.part.rng.random() == owner.part.rng.random()
    assert not hasattr(other, "kept")


def test_others_that_hold_the_same_thing_see_what_is_put_back() -> None:
    owner = Owner()
    watched = Attributes({"self": owner})
    owner.zeros += 2
    owner.history.append(1)
    state, other = watched.state(), Owner()
    tensor, history = other.zeros, other.history
    Attributes({"self": other}).restore(through_a_checkpoint(state))
    assert (tensor.tolist(), history) == ([2, 2], [1])


def test_what_another_value_of_a_parameter_made_other_is_left_as_it_is() -> None:
    owner = Owner()
    watched = Attributes({"self": owner})
    owner.count += 1
    other = Owner()
    other.kept = 7
    Attributes({"self": other}).restore(through_a_checkpoint(watched.state()))
    assert (other.count, other.kept) == (1, 7)


def test_what_cannot_be_put_back_is_named_and_the_rest_kept() -> None:
    owner = Owner()
    owner.it = itertools.count()  # type: ignore[attr-defined]
    watched = Attributes({"self": owner})
    owner.history.append(Part())
    owner.new, owner.count = Part(), 2  # type: ignore[attr-defined]
    state = watched.state()
    assert watched.not_kept == {"self.it": "count", "self.history": "list of Part", "self.new": "Part"}
    assert state["attributes"]["self"]["set"] == {"count": 2}


def test_an_object_that_noted_something_unsavable_gets_nothing_of_what_it_noted() -> None:
    owner = Owner()
    watched = Attributes({"self": owner})
    owner.part.opened, owner.part.count = Part(), 1  # type: ignore[attr-defined]
    assert watched.state()["attributes"] == {}
    assert watched.not_kept == {"self.part.opened": "Part", "self.part.count": "int"}


def test_where_data_is_read_only_generators_are_saved_and_the_rest_is_named() -> None:
    owner = Owner()
    watched = Attributes({"self": owner}, aside={id(owner.part)})
    owner.part.count += 1
    owner.part.rng.random()
    state = watched.state()
    assert list(state["contents"]) == ["self.part.rng"]
    assert watched.not_kept_aside == {"self.part.count": "int"}


class Teller(Owner):
    def __init__(self) -> None:
        super().__init__()
        self.part = Told()  # type: ignore[assignment]


class Told(Part):
    def state_dict(self) -> dict[str, Any]:
        return {"twice": 2 * self.count}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.count = state["twice"] // 2


def test_what_tells_its_state_is_taken_at_its_word() -> None:
    owner = Teller()
    watched = Attributes({"self": owner})
    owner.part.count, owner.part.handle = 5, Part()  # type: ignore[attr-defined]
    assert moved(owner, watched).part.count == 5
    assert not watched.not_kept


def test_what_others_save_is_not_saved_twice() -> None:
    owner = Owner()
    watched = Attributes({"self": owner}, elsewhere={id(owner.zeros)})
    owner.zeros += 1
    assert watched.state()["contents"] == {}


def test_large_things_are_neither_copied_nor_read_and_saved_only_when_written_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    owner = Owner()
    owner.large = torch.zeros(1 << 20)  # type: ignore[attr-defined]
    owner.rows = list(range(200_000))  # type: ignore[attr-defined]
    owner.array = np.zeros(1 << 20)  # type: ignore[attr-defined]
    watched = Attributes({"self": owner})
    read, reading = torch.Tensor.cpu, []
    monkeypatch.setattr(torch.Tensor, "cpu", lambda tensor: (reading.append(tensor.nbytes), read(tensor))[1])
    assert watched.state() == {"contents": {}, "attributes": {}, "new": []}
    assert max(reading) < 1 << 10
    owner.large[5] = 1  # type: ignore[attr-defined]
    owner.array += 1  # type: ignore[attr-defined]
    owner.rows[-1] = 7  # type: ignore[attr-defined]
    state = watched.state()
    assert sorted(state["contents"]) == ["self.array", "self.large", "self.rows"]
    # Not a copy.
    assert state["contents"]["self.large"]["data"].data_ptr() == owner.large.data_ptr()  # type: ignore[attr-defined]


def test_a_large_tensor_that_is_replaced_is_not_kept_alive() -> None:
    owner = Owner()
    watched = Attributes({"self": owner})
    owner.mean = owner.zeros = torch.ones(2)
    assert watched._thing("self.mean") is object_attributes._GONE
    assert moved(owner, watched).zeros.tolist() == [1, 1]


class Evil:
    """Nothing about it can be asked."""

    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError(name)

    def __eq__(self, other: object) -> bool:
        raise RuntimeError

    __hash__ = None  # type: ignore[assignment]


class Slots:
    __slots__ = ("__private", "count")

    def __init__(self) -> None:
        self.count, self.__private = 0, 1

    @property
    def read_only(self) -> int:
        raise RuntimeError

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(name)


class Odd(Owner):
    def __init__(self) -> None:
        super().__init__()
        self.evil, self.slots = Evil(), Slots()


def test_no_object_is_too_odd() -> None:
    owner = Odd()
    watched = Attributes({"self": owner})
    owner.slots.count = 3
    owner.history.append(owner.evil)
    other = moved(owner, watched)
    assert other.slots.count == 3
    assert other.history[0] is other.evil


def test_what_leads_to_nothing_in_the_new_process_is_named() -> None:
    owner = Owner()
    watched = Attributes({"self": owner})
    owner.part.rng.random()
    owner.count = 1
    other = Owner()
    other.part = other.parts[1] = None  # type: ignore[assignment, call-overload]
    lost = Attributes({"self": other}).restore(through_a_checkpoint(watched.state()))
    assert lost == ["self.part.rng"]
    assert other.count == 1
