"""What `launch=multinode` asks for, as the rendezvous takes it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from nimble_lightning.errors import RequestError
from nimble_lightning.ops.durations import in_seconds
from nimble_lightning.settings import Multinode

_PORT = 29400
_USAGE = "launch=multinode launch.nnodes=2 launch.rdzv_endpoint=HOST:PORT run_id=NAME, the same on every node"


@dataclass(frozen=True)
class RendezvousParameters:
    """How many machines, where they meet, and how long they wait for each other.

    Attributes:
        least: So many have to be there.
        most: No more take part; further ones wait until one of them is lost.
        host: Where they meet. The machine that has this address serves the others.
        port: The same.
        join_seconds: How long to wait for enough of them.
        address: By which the others reach this machine; None to find out.
    """

    least: int
    most: int
    host: str
    port: int
    join_seconds: float
    address: str | None

    @classmethod
    def of(cls, launch: Multinode, num_nodes: int) -> RendezvousParameters:
        """Read them from what was asked.

        Raises:
            RequestError: Something is missing or cannot be read.
        """
        least, most = _nodes(launch.nnodes or num_nodes)
        host, port = _endpoint(launch.rdzv_endpoint)
        seconds = in_seconds(launch.join_timeout or Multinode.join_timeout, "launch.join_timeout")
        return cls(least, most, host, port, seconds, launch.local_addr)


def _nodes(asked: Any) -> tuple[int, int]:
    words = str(asked).split(":")
    if not (1 <= len(words) <= 2 and all(word.isdigit() for word in words)):
        raise RequestError(f"launch.nnodes={asked}: expected a number of nodes, or least:most as in 2:4.")
    least, most = int(words[0]), int(words[-1])
    if not 1 <= least <= most:
        raise RequestError(f"launch.nnodes={asked}: expected at least one node, and no more than the most.")
    return least, most


def _endpoint(asked: Any) -> tuple[str, int]:
    if not asked:
        raise RequestError(f"launch=multinode does not know where the nodes meet. Give {_USAGE}.")
    host, colon, port = str(asked).rpartition(":")
    if not colon:
        host, port = str(asked), str(_PORT)
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise RequestError(f"launch.rdzv_endpoint={asked}: expected HOST:PORT, as in node1:{_PORT}.")
    return host.strip("[]"), int(port)
