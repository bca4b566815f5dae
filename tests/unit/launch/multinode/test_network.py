from __future__ import annotations

import socket

import pytest

from nimble_lightning.errors import RequestError
from nimble_lightning.launch.multinode import network


def test_an_address_is_here_if_it_can_be_listened_at() -> None:
    assert network.is_here("127.0.0.1")
    # Kept for documentation: no machine has it.
    assert not network.is_here("192.0.2.1")


def test_the_address_facing_an_address_of_this_machine_is_that_one() -> None:
    assert network.facing("127.0.0.1") == "127.0.0.1"


def test_the_interface_is_the_one_that_has_the_address() -> None:
    loopback = next(name for _, name in socket.if_nameindex() if name.startswith("lo"))
    assert network.interface("127.0.0.1") == loopback
    assert network.interface("192.0.2.1") is None


def test_loopback_is_for_this_machine_only() -> None:
    assert network.only_here("127.0.1.1")
    assert network.only_here("::1")
    assert not network.only_here("10.0.0.1")


def test_a_host_nobody_knows_is_refused() -> None:
    with pytest.raises(RequestError, match="nowhere.invalid is not known here"):
        network.resolved("nowhere.invalid")
