from __future__ import annotations

from typing import Any

import pytest

from nimble_lightning.errors import RequestError
from nimble_lightning.launch.multinode.rendezvous_parameters import RendezvousParameters
from nimble_lightning.settings import Multinode


def settings(num_nodes: int = 1, **launch: Any) -> RendezvousParameters:
    return RendezvousParameters.of(Multinode(**{"rdzv_endpoint": "node1:1234", **launch}), num_nodes)


@pytest.mark.parametrize(("asked", "least", "most"), [(2, 2, 2), ("2", 2, 2), ("2:4", 2, 4), ("1:1", 1, 1)])
def test_a_number_of_nodes_is_one_or_a_range(asked: Any, least: int, most: int) -> None:
    assert (settings(nnodes=asked).least, settings(nnodes=asked).most) == (least, most)


def test_without_a_number_lightning_says_how_many() -> None:
    assert settings(num_nodes=3).least == 3


@pytest.mark.parametrize("asked", ["0", "4:2", "2:3:4", "two", "-1", "1.5", ":2"])
def test_what_is_no_number_of_nodes_is_refused(asked: str) -> None:
    with pytest.raises(RequestError, match="launch.nnodes"):
        settings(nnodes=asked)


@pytest.mark.parametrize(
    ("asked", "host", "port"),
    [
        ("node1:1234", "node1", 1234),
        ("node1", "node1", 29400),
        ("[fe80::1]:5", "fe80::1", 5),
        ("10.0.0.1:80", "10.0.0.1", 80),
    ],
)
def test_nodes_meet_at_a_host_and_a_port(asked: str, host: str, port: int) -> None:
    found = settings(rdzv_endpoint=asked)
    assert (found.host, found.port) == (host, port)


@pytest.mark.parametrize("asked", ["node1:", "node1:http", ":1234", "node1:70000", "node1:0"])
def test_what_is_no_place_is_refused(asked: str) -> None:
    with pytest.raises(RequestError, match="expected HOST:PORT"):
        settings(rdzv_endpoint=asked)


def test_a_place_has_to_be_given() -> None:
    with pytest.raises(RequestError, match="launch.rdzv_endpoint=HOST:PORT"):
        settings(rdzv_endpoint=None)


def test_a_wait_is_written_as_people_write_it() -> None:
    assert settings(join_timeout="1h30m").join_seconds == 5400
