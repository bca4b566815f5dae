"""Which machines take part in an attempt, known before its workers start."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch.distributed import PrefixStore, Store, TCPStore
from torch.distributed.elastic.rendezvous.api import RendezvousHandler, RendezvousInfo, RendezvousStoreInfo


@dataclass(frozen=True)
class Meeting:
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
    def alone(cls) -> Meeting:
        """This machine by itself, which has nobody to wait for."""
        store = open_store("127.0.0.1")
        return cls(store, "127.0.0.1", store.port)


def open_store(address: str) -> TCPStore:
    """A store of this process at a port that is free."""
    return TCPStore(address, 0, is_master=True, wait_for_workers=False)


class Met(RendezvousHandler):
    """A meeting, as torchelastic wants it: it has taken place, and there is no other after it."""

    # Workers connect to the store of the supervisor that leads.
    use_agent_store = True

    def __init__(self, meeting: Meeting, name: str) -> None:
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
