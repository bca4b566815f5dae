"""Where the machines of a run find each other: torchelastic's rendezvous, joined before every attempt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from torch.distributed import TCPStore
from torch.distributed.elastic.rendezvous.api import RendezvousError
from torch.distributed.elastic.rendezvous.c10d_rendezvous_backend import C10dRendezvousBackend
from torch.distributed.elastic.rendezvous.dynamic_rendezvous import (
    DynamicRendezvousHandler,
    RendezvousTimeout,
)

from nimble_lightning.launch.multinode import network
from nimble_lightning.launch.multinode.messages import within
from nimble_lightning.launch.multinode.rendezvous_parameters import RendezvousParameters
from nimble_lightning.launch.multinode.shared_secret import SharedSecret, SignedBackend, SignedStore
from nimble_lightning.supervision.worker_store import connected, open_store

# A machine that has given no sign for so many of these intervals takes part no more.
KEEP_ALIVE_SECONDS, KEEP_ALIVE_MISSES = 1, 6
# Once there are enough machines, further ones have so long to take part from the start.
LAST_CALL_SECONDS = 3
ANSWER_SECONDS = 10


@dataclass(frozen=True)
class Round:
    """Who has come.

    Attributes:
        store: Theirs alone.
        rank: Of this machine among them.
        introductions: What each has said of itself, by rank.
    """

    store: SignedStore
    rank: int
    introductions: Sequence[dict[str, Any]]


class Rendezvous:
    """The place where a run's machines meet. The one whose address it is serves the others.

    Args:
        run_id: Of the run; others may meet at the same place.
        settings: How many machines, and where.
        token: The file in the run's folder by which they know each other.
        address: Of the endpoint.
        own: By which the others reach this machine.
    """

    def __init__(
        self, run_id: str, settings: RendezvousParameters, token: Path, address: str, own: str
    ) -> None:
        self._run_id = run_id
        self._settings = settings
        self._token = token
        self._address = address
        self._own = own
        self._serves = network.is_here(address)
        self._handler: DynamicRendezvousHandler | None = None

    def meet(self, introduction: Mapping[str, Any]) -> Round:
        """Wait until enough machines are here; whatever was met before is over.

        Raises:
            RendezvousTimeoutError: They did not come.
            DistStoreError: One left while all came together.
            RendezvousError, RuntimeError: Whoever serves is not there.
        """
        met = self._joined().next_rendezvous()
        store = SignedStore(met.store, self._secret)
        store.set(f"introduction/{met.rank}", introduction)
        introductions = [store.get(f"introduction/{rank}") for rank in range(met.world_size)]
        return Round(store, met.rank, introductions)

    def forget(self) -> None:
        """Whoever serves is gone, or not there yet: the next meeting begins with finding it.

        A process that ended while torch's thread gave a sign of life from it would be aborted.
        """
        if self._handler is not None:
            self._handler._stop_heartbeats()
        self._handler = None

    def waiting(self) -> bool:
        """Whether further machines want to take part, and may."""
        if self._handler is None:
            return False
        try:
            return within(ANSWER_SECONDS, self._handler.num_nodes_waiting) > 0
        except (RendezvousError, RuntimeError, TimeoutError):
            return False

    def _joined(self) -> DynamicRendezvousHandler:
        if self._handler is None:
            store = self._connected()
            # A run that was over meanwhile has another by now.
            self._secret = SharedSecret.in_file(self._token)
            self._handler = DynamicRendezvousHandler.from_backend(
                self._run_id,
                store,
                SignedBackend(C10dRendezvousBackend(store, self._run_id), self._secret),
                self._settings.least,
                self._settings.most,
                local_addr=self._own,
                timeout=RendezvousTimeout(
                    join=timedelta(seconds=self._settings.join_seconds),
                    last_call=timedelta(seconds=LAST_CALL_SECONDS),
                ),
                keep_alive_interval=KEEP_ALIVE_SECONDS,
                keep_alive_max_attempt=KEEP_ALIVE_MISSES,
            )
        return self._handler

    def _connected(self) -> TCPStore:
        """To a store here, if it is to be here and nobody on this machine has it yet; else to that one."""
        if self._serves:
            with suppress(OSError, RuntimeError):
                return open_store(self._address, self._settings.port, ANSWER_SECONDS)
        return connected(self._address, self._settings.port, ANSWER_SECONDS)
