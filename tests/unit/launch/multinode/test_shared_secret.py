"""Who cannot read a run's folder has nothing to say in the run, and nothing of theirs is unpickled."""

from __future__ import annotations

import base64
import pickle
from pathlib import Path

import pytest
from torch.distributed import HashStore
from torch.distributed.elastic.rendezvous.api import RendezvousStateError
from torch.distributed.elastic.rendezvous.c10d_rendezvous_backend import C10dRendezvousBackend
from torch.distributed.elastic.rendezvous.dynamic_rendezvous import DynamicRendezvousHandler

from nimble_lightning.launch.multinode.shared_secret import (
    ForgedError,
    SharedSecret,
    SignedBackend,
    SignedStore,
)


class Bomb:
    """Leaves a mark where it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.mark,)


def test_the_first_to_come_makes_the_secret_and_all_have_the_same(tmp_path: Path) -> None:
    file = tmp_path / "nodes.token"
    first, second = SharedSecret.in_file(file), SharedSecret.in_file(file)
    assert second.verified("a", first.sign("a", b"x")) == b"x"
    assert file.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("by", [SharedSecret(b"another"), SharedSecret(b"ours", "yesterday")])
def test_what_others_say_and_what_was_said_in_another_meeting_is_refused(by: SharedSecret) -> None:
    store = HashStore()
    SignedStore(store, by).set("orders/0", {"attempt": 1})
    with pytest.raises(ForgedError, match="does not have the secret of this run"):
        SignedStore(store, SharedSecret(b"ours", "today")).get("orders/0")


def test_what_was_said_under_one_name_is_not_heard_under_another() -> None:
    store, secret = HashStore(), SharedSecret(b"ours")
    SignedStore(store, secret).set("orders/1", {"attempt": 1})
    store.set("orders/0", store.get("orders/1").decode())
    with pytest.raises(ForgedError):
        SignedStore(store, secret).get("orders/0")


def test_the_state_of_a_stranger_is_refused_before_it_is_unpickled(tmp_path: Path) -> None:
    store, mark = HashStore(), tmp_path / "mark"
    backend = SignedBackend(C10dRendezvousBackend(store, "run"), SharedSecret(b"ours"))
    store.set("torch.rendezvous.run", base64.b64encode(pickle.dumps(Bomb(mark))).decode())
    handler = DynamicRendezvousHandler.from_backend("run", store, backend, 1, 1)
    with pytest.raises(RendezvousStateError, match="does not have the secret of this run"):
        handler.next_rendezvous()
    assert not mark.exists()


def test_nodes_that_share_the_secret_meet() -> None:
    store = HashStore()
    backend = SignedBackend(C10dRendezvousBackend(store, "run"), SharedSecret(b"ours"))
    state, token, was_set = backend.set_state(b"one") or (b"", None, False)
    assert (state, was_set) == (b"one", True)
    assert backend.set_state(b"two", "not a token") == (b"one", token, False)
    assert backend.get_state() == (b"one", token)
