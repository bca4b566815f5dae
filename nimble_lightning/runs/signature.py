"""The signature of a run: its key read before the first worker starts, used when the last has ended.

The key stays in the supervising process. Workers get neither it nor the variables it came from.
"""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from nimble_lightning.errors import NimbleError, RequestError
from nimble_lightning.proof import secret_scan
from nimble_lightning.proof.backend import Seal
from nimble_lightning.proof.sign_folder import sign
from nimble_lightning.runs.job import Job
from nimble_lightning.settings import target_of

log = logging.getLogger(__name__)

# What runs that go on in this process will be signed with, and what must not be found in their folders.
_ready: dict[Path, tuple[Seal, Mapping[str, str]]] = {}


@contextmanager
def ready(job: Job) -> Iterator[None]:
    """Unlock the key of a job that is to be signed, and keep it from the workers until the block ends.

    Raises:
        RequestError: There is no such key, or it does not open.
    """
    if job.folder.path in _ready:
        yield
        return
    if not job.settings.signed:
        if job.settings.signature:
            raise RequestError("There are settings for a signature, but none is asked for: signature=ed25519")
        yield
        return
    backend = _backend(job.config)
    seal = backend.unlock(os.environ)
    with withheld(backend.variables) as held:
        _ready[job.folder.path] = seal, held
        try:
            yield
        finally:
            del _ready[job.folder.path]


def variables(config: DictConfig) -> list[str]:
    """Of the environment, from which the key of a run comes, and which no worker may see."""
    return list(_backend(config).variables) if target_of(config.signature) else []


def complete(job: Job) -> None:
    """Sign a run that has ended. One that cannot be signed has ended all the same."""
    if not job.settings.signed:
        return
    try:
        backend = _backend(job.config)
        seal, held = _ready.get(job.folder.path) or (backend.unlock(os.environ), {})
        config = OmegaConf.to_yaml(job.config)
        secrets = secret_scan.secrets_of(config, {**os.environ, **held})
        sign(job.folder.path, seal, also=backend.also, secrets=secrets)
    except (NimbleError, OSError) as error:
        log.warning("the run is not signed: %s", str(error).removeprefix("Not signed: "))


def _backend(config: DictConfig) -> Any:
    from hydra.errors import InstantiationException
    from hydra.utils import instantiate

    block = config.signature
    for name in ("key", "passphrase"):
        node = block._get_node(name)
        raw = "" if node is None else str(node._value())
        if "${oc.env:" in raw and (name == "passphrase" or "PRIVATE KEY" in str(block[name])):
            raise RequestError(
                f"signature.{name}={raw} would reach the workers; write signature.{name}=env:NAME"
            )
    try:
        return instantiate(OmegaConf.to_container(block, resolve=True), _convert_="object")
    except InstantiationException as error:
        raise RequestError(f"signature: {error.__cause__ or error}".partition("\n")[0]) from None


@contextmanager
def withheld(names: Sequence[str]) -> Iterator[dict[str, str]]:
    """Take variables out of the environment of this process and of those it starts; yields what they held."""
    held = {name: os.environ.pop(name) for name in names if name in os.environ}
    _end_server_that_knows(names)
    try:
        yield held
    finally:
        os.environ.update(held)


def _end_server_that_knows(names: Sequence[str]) -> None:
    """Workers are forked from a server; one that an earlier run started has the environment of that time."""
    server: Any = forkserver._forkserver
    pid = server._forkserver_pid
    if pid is None or not names:
        return
    try:
        environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        environment = [f"{name}=".encode() for name in names]
    if any(entry.startswith(f"{name}=".encode()) for entry in environment for name in names):
        # It may be importing still, and would end only after that.
        os.kill(pid, signal.SIGKILL)
        server._stop()
