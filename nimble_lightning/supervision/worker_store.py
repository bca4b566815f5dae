"""Which machines take part in an attempt, known before its workers start."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from torch.distributed import PrefixStore, Store, TCPStore
from torch.distributed.elastic.rendezvous.api import RendezvousHandler, RendezvousInfo, RendezvousStoreInfo

# All ranks of a large run come at once.
_BACKLOG = 2048


@dataclass(frozen=True)
class WorkerStore:
    """The machines of one attempt and the store by which its workers find each other.

    Attributes:
        store: Open for as long as the attempt goes on.
        address: Of the store, for the workers.
        port: The same.
        rank: Of this machine among all.
        hosts: Their names, by rank.
    """

    store: Store
    address: str
    port: int
    rank: int = 0
    hosts: Sequence[str] = ("",)

    @classmethod
    def alone(cls) -> WorkerStore:
        """This machine by itself, which has nobody to wait for."""
        store = open_store("127.0.0.1")
        return cls(store, "127.0.0.1", store.port)


def open_store(address: str, port: int = 0, patience: float = 300.0) -> TCPStore:
    """A store of this process, which is reached by this address alone; torch's own listens at all.

    Args:
        address: One of this machine's.
        port: A free one by default.
        patience: Seconds after which waiting in it ends.

    Raises:
        OSError: Somebody else has the port.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.create_server((address, port), family=family, backlog=_BACKLOG) as listening:
        port = listening.getsockname()[1]
        return TCPStore(
            address,
            port,
            is_master=True,
            wait_for_workers=False,
            timeout=timedelta(seconds=patience),
            master_listen_fd=listening.detach(),
        )


def connected(address: str, port: int, patience: float) -> TCPStore:
    """To the store of another process."""
    timeout = timedelta(seconds=patience)
    return TCPStore(address, port, is_master=False, wait_for_workers=False, timeout=timeout)


class StaticRendezvous(RendezvousHandler):
    """A meeting, as torchelastic wants it: it has taken place, and there is no other after it."""

    # Workers connect to the store of the supervisor that leads.
    use_agent_store = True

    def __init__(self, meeting: WorkerStore, name: str) -> None:
        self._meeting = meeting
        self._name = name

    def next_rendezvous(self) -> RendezvousInfo:
        meeting = self._meeting
        where = RendezvousStoreInfo(meeting.address, meeting.port)
        return RendezvousInfo(
            PrefixStore("torchelastic", meeting.store), meeting.rank, len(meeting.hosts), where
        )

    def get_backend(self) -> str:
        return "nimble"

    def get_run_id(self) -> str:
        return self._name

    def num_nodes_waiting(self) -> int:
        """Who waits to take part is the supervisor's concern."""
        return 0

    def is_closed(self) -> bool:
        return False

    def set_closed(self) -> None:
        """Nobody could come in anyway."""

    def shutdown(self) -> bool:
        return True
