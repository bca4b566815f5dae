"""The machines of a run come together for an attempt, agree on who leads, and refuse who means another."""

from __future__ import annotations

import logging
import secrets
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch.distributed import DistStoreError
from torch.distributed.elastic.rendezvous.api import (
    RendezvousError,
    RendezvousStateError,
    RendezvousTimeoutError,
)

from nimble_lightning.errors import NimbleError, RequestError
from nimble_lightning.launch.multinode import network
from nimble_lightning.launch.multinode.messages import SupervisorChannel
from nimble_lightning.launch.multinode.rendezvous import ANSWER_SECONDS, Rendezvous, Round
from nimble_lightning.launch.multinode.rendezvous_parameters import RendezvousParameters
from nimble_lightning.launch.multinode.shared_secret import ForgedError, SignedStore
from nimble_lightning.runs import device_count
from nimble_lightning.runs.job import Job
from nimble_lightning.supervision.worker_store import WorkerStore, connected, open_store
from nimble_lightning.worker.config_agreement import digests

log = logging.getLogger(__name__)

AGAIN_SECONDS = 0.5
# What may be said differently on each machine.
_OWN_BUSINESS = ("launch.local_addr",)


@dataclass(frozen=True)
class Assembled:
    """Machines that are ready for an attempt.

    Attributes:
        meeting: For the workers.
        talk: For the supervisors.
        leader: Which of them leads, by rank.
    """

    meeting: WorkerStore
    talk: SupervisorChannel
    leader: int

    @property
    def leads(self) -> bool:
        return self.meeting.rank == self.leader


class Assembly:
    """Brings this machine together with the others, again and again.

    Attributes:
        leads: Whether this machine has the run's lock. It leads then, whoever else comes.
    """

    def __init__(self, job: Job, settings: RendezvousParameters) -> None:
        endpoint = network.resolved(settings.host)
        self.own = settings.address or network.facing(endpoint)
        self.leads = False
        self._settings = settings
        self._folder = job.folder
        self._rendezvous = Rendezvous(job.run_id, settings, job.folder.token, endpoint, self.own)
        asked = digests(job.resolved())
        self._introduction = {
            "host": socket.gethostname(),
            "address": self.own,
            "workers": device_count.count(job.settings.processes),
            "asked": {key: digest for key, digest in asked.items() if key not in _OWN_BUSINESS},
        }

    def come(self) -> Assembled:
        """Wait for the others.

        Raises:
            NimbleError: There were not enough of them in time.
            RequestError: The one that leads was asked for another run than this machine.
        """
        self._folder.create()
        until = time.monotonic() + self._settings.join_seconds
        while True:
            try:
                return self._agreed(self._rendezvous.meet({**self._introduction, "leads": self.leads}))
            except RendezvousTimeoutError:
                raise self._too_few() from None
            except DistStoreError:
                # Somebody left while all came together.
                pass
            except RendezvousStateError as error:
                raise ForgedError(str(error)) from None
            except (RendezvousError, RuntimeError):
                # Whoever serves is gone, or not there yet.
                self._rendezvous.forget()
            if time.monotonic() > until:
                raise self._too_few()
            time.sleep(AGAIN_SECONDS)

    def close(self) -> None:
        """This machine comes no more."""
        self._rendezvous.forget()

    def end(self) -> None:
        """Nobody comes any more: the run is over."""
        self._folder.token.unlink(missing_ok=True)

    def more_wait(self) -> bool:
        """Whether further machines want to take part, and may."""
        return self._rendezvous.waiting()

    def _agreed(self, met: Round) -> Assembled:
        everyone = met.introductions
        leader = next((rank for rank, one in enumerate(everyone) if one["leads"]), 0)
        strangers = {rank: _differs(one, everyone[leader]) for rank, one in enumerate(everyone)}
        if keys := strangers[met.rank]:
            raise RequestError(
                f"This node was asked for another {', '.join(keys)} than {everyone[leader]['host']}, which "
                "leads the run. Give the same command on every node."
            )
        if any(strangers.values()):
            for rank, keys in strangers.items():
                if keys:
                    log.warning("%s asks for another %s: refused", everyone[rank]["host"], ", ".join(keys))
            raise RendezvousError
        return self._ready(met, leader)

    def _ready(self, met: Round, leader: int) -> Assembled:
        """Around a store of the one that leads, which is there for as long as it is."""
        everyone = met.introductions
        if met.rank == leader:
            self._require_reachable(everyone)
            store = open_store(self.own)
            met.store.set("store", [self.own, store.port, secrets.token_hex(8)])
        address, port, meeting = met.store.get("store")
        if met.rank != leader:
            store = connected(address, port, ANSWER_SECONDS)
        words = SignedStore(connected(address, port, ANSWER_SECONDS), met.store.secret.of(meeting))
        talk = SupervisorChannel(words, met.rank, len(everyone))
        hosts = [one["host"] for one in everyone]
        return Assembled(WorkerStore(store, address, port, met.rank, hosts), talk, leader)

    def _require_reachable(self, everyone: Any) -> None:
        far = [one["host"] for one in everyone if not network.only_here(one["address"])]
        if far and network.only_here(self.own):
            raise RequestError(
                f"{far[0]} cannot reach this node at {self.own}. Give its address in the network: "
                "launch.local_addr=ADDRESS, or in launch.rdzv_endpoint."
            )

    def _too_few(self) -> NimbleError:
        least, place = self._settings.least, f"{self._settings.host}:{self._settings.port}"
        return NimbleError(
            f"{least} node{'s' if least > 1 else ''} did not come together at {place} within "
            f"{self._settings.join_seconds:.0f} s. Start the same command on every node, or wait longer: "
            "launch.join_timeout=1h."
        )


def _differs(one: Mapping[str, Any], leader: Mapping[str, Any]) -> list[str]:
    """The keys a machine was asked for otherwise than the one that leads."""
    mine, theirs = one["asked"], leader["asked"]
    keys = sorted(key for key in {*mine, *theirs} if mine.get(key) != theirs.get(key))
    return keys or (["number of devices"] if one["workers"] != leader["workers"] else [])
