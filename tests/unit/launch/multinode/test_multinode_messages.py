from __future__ import annotations

import time
from datetime import timedelta

import pytest
from torch.distributed import HashStore, TCPStore

from nimble_lightning.launch.multinode.messages import OutOfTouch, SupervisorChannel
from nimble_lightning.launch.multinode.shared_secret import SharedSecret, SignedStore
from nimble_lightning.supervision.worker_store import open_store

SECRET = SharedSecret(b"known to both")


def test_what_one_tells_the_other_hears() -> None:
    store = SignedStore(HashStore(), SECRET)
    first, second = SupervisorChannel(store, 0, 2), SupervisorChannel(store, 1, 2)
    assert second.told("orders", 0) is None
    first.tell("orders", {"attempt": 3, "resume_from": None})
    assert second.hear("orders", 0, until=lambda: False) == {"attempt": 3, "resume_from": None}
    assert first.told("orders", 1) is None


def test_waiting_ends_when_it_becomes_pointless() -> None:
    assert (
        SupervisorChannel(SignedStore(HashStore(), SECRET), 0, 2).hear("end", 1, until=lambda: True) is None
    )


def test_who_gives_no_sign_is_silent_and_who_does_is_not() -> None:
    store = SignedStore(HashStore(), SECRET)
    talks = [SupervisorChannel(store, rank, 3) for rank in range(3)]
    until = time.monotonic() + 1.5
    while time.monotonic() < until:
        talks[0].beat()
        talks[1].beat()
        time.sleep(0.05)
    assert talks[0].silent(1.2) == [2]


def test_a_store_that_is_gone_is_noticed() -> None:
    server = open_store("127.0.0.1")
    timeout = timedelta(seconds=5)
    client = TCPStore("127.0.0.1", server.port, is_master=False, wait_for_workers=False, timeout=timeout)
    talk = SupervisorChannel(SignedStore(client, SECRET), 1, 2)
    talk.tell("end", {})
    del server
    with pytest.raises(OutOfTouch):
        talk.hear("decision", 0, until=lambda: False)
