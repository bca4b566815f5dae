"""The store in which ranks that somebody else has started meet: at the first of them, new at every start."""

from __future__ import annotations

import os
import socket
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from pathlib import Path

from torch.distributed import DistError, TCPStore

from nimble_lightning.errors import RequestError
from nimble_lightning.launch.external.detect import RankIsolated, Ranks
from nimble_lightning.ops.run_files import write_text

# For the last one to come: the machines of a cluster do not start at once.
SECONDS = 300
_LOOK_SECONDS = 0.05
_HERE = "127.0.0.1"
_ELASTIC = "TORCHELASTIC_USE_AGENT_STORE"
_ANNOUNCED = "nimble/port"


@dataclass(frozen=True)
class RankStore:
    """Where ranks meet.

    Attributes:
        store: New at every start. The process group shares it: its own keys of an earlier start would send
            ranks to neighbours that are gone.
        of_all_starts: That of torchrun, which outlives what it starts again; elsewhere the same one.
        sign: A file that says where it is, of no use once all are here.
    """

    store: TCPStore
    of_all_starts: TCPStore
    sign: Path | None = None

    def close_the_door(self) -> None:
        if self.sign is not None:
            self.sign.unlink(missing_ok=True)


@cache
def find(ranks: Ranks) -> RankStore:
    """Serve the store, or find it; MASTER_ADDR and MASTER_PORT say where it is from then on.

    Raises:
        RankIsolated: It cannot be found.
        RequestError: Nobody says where it is.
    """
    if os.environ.get(_ELASTIC) == str(True):
        agents = _store(ranks, os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), serves=False)
        os.environ[_ELASTIC] = str(False)
        return RankStore(_announced_in(agents, ranks), agents)
    if "MASTER_ADDR" in os.environ and "MASTER_PORT" in os.environ:
        address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        store = _store(ranks, address, port, serves=ranks.first)
        return RankStore(store, store)
    return _announced_in_a_file(ranks)


def _announced_in(agents: TCPStore, ranks: Ranks) -> TCPStore:
    return _announced(
        ranks,
        os.environ["MASTER_ADDR"],
        write=lambda port: agents.set(_ANNOUNCED, port),
        read=lambda: agents.get(_ANNOUNCED).decode() if agents.check([_ANNOUNCED]) else None,
    )


def _announced_in_a_file(ranks: Ranks) -> RankStore:
    """One machine needs nobody to say where."""
    if ranks.machines > 1:
        raise RequestError(
            f"{ranks.launcher.name} started {ranks.size} processes on {ranks.machines} machines and does not "
            "say where they meet. Have it pass on what you type before: "
            "export MASTER_ADDR=NAME_OF_THE_FIRST MASTER_PORT=29500"
        )
    file = Path(tempfile.gettempdir()) / f"nimble-{os.getuid()}-{ranks.start()}.port"

    def read() -> str | None:
        try:
            # Anybody may write there; only our own word is taken.
            return file.read_text(encoding="ascii") if file.stat().st_uid == os.getuid() else None
        except OSError:
            return None

    store = _announced(ranks, _HERE, write=lambda port: write_text(file, port), read=read)
    return RankStore(store, store, file)


def _announced(
    ranks: Ranks, address: str, write: Callable[[str], None], read: Callable[[], str | None]
) -> TCPStore:
    """The first one takes a free port and says which; the others look until somebody answers there."""
    if ranks.first:
        store = _store(ranks, address, 0, serves=True)
        write(str(store.port))
    else:
        store = _store(ranks, address, _answering(ranks, address, read), serves=False)
    os.environ.update(MASTER_ADDR=address, MASTER_PORT=str(store.port))
    return store


def _answering(ranks: Ranks, address: str, read: Callable[[], str | None]) -> int:
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        # What an earlier start has left is no answer.
        if (port := read()) and _answers(address, int(port)):
            return int(port)
        time.sleep(_LOOK_SECONDS)
    raise RankIsolated(
        f"rank {ranks.rank}: rank 0 did not say where to meet. Say it before {ranks.launcher.name}: "
        f"export MASTER_ADDR={address} MASTER_PORT=29500"
    )


def _answers(address: str, port: int) -> bool:
    try:
        socket.create_connection((address, port), timeout=1).close()
    except OSError:
        return False
    return True


def _store(ranks: Ranks, address: str, port: int, *, serves: bool) -> TCPStore:
    try:
        return TCPStore(
            address,
            port,
            is_master=serves,
            timeout=timedelta(seconds=SECONDS),
            wait_for_workers=False,
            multi_tenant=True,
        )
    except DistError as error:
        reason = str(error).partition("\n")[0]
        raise RankIsolated(
            f"rank {ranks.rank}: the ranks cannot meet at {address}:{port}: {reason}. "
            "Export another MASTER_ADDR and MASTER_PORT, the same for all."
        ) from None
