"""A server process that has imported Lightning; a worker forked from it is up in a fraction of a second."""

from __future__ import annotations

import ast
import atexit
import contextlib
import multiprocessing
import os
import signal
import sys
import types
import warnings
from collections.abc import Iterator
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

from nimble_lightning.errors import UNREADABLE
from nimble_lightning.runs.process_tree import alive

PRELOAD = ["nimble_lightning.worker.server.ignore_signals", "nimble_lightning.worker.server.preload"]
PRELOAD_ALSO = "NIMBLE_PRELOAD"
# Of the server, which has it from the moment when it was started.
_environment: dict[str, str] = {}


def start(trainer: str) -> None:
    """Start the server if none runs. It imports while the caller goes on, and initialises no device.

    What the trainer's file imports is imported as well (not the file itself), so that a retry does not pay
    for it again.
    """
    method = multiprocessing.get_start_method(allow_none=True)
    if method not in (None, *multiprocessing.get_all_start_methods()):
        # Started by joblib, this process names a method of joblib's to its children, which do not know it.
        multiprocessing.set_start_method(None, force=True)
    multiprocessing.set_forkserver_preload(PRELOAD)
    if not runs():
        let_go()
    before = _pid()
    os.environ[PRELOAD_ALSO] = " ".join(imports_of(trainer))
    try:
        with without_main(), warnings.catch_warnings():
            # Somebody killed the process that keeps account of semaphores: there is another one now.
            warnings.filterwarnings("ignore", "resource_tracker: process died")
            forkserver.ensure_running()
    finally:
        del os.environ[PRELOAD_ALSO]
    if (server := _pid()) != before:
        _environment.clear()
        _environment.update(os.environ)
        atexit.register(_end, server, os.getpid())


def runs() -> bool:
    """Whether there is a server; somebody may have killed it."""
    return bool(server := _pid()) and alive(server)


def changes() -> dict[str, str]:
    """What the environment of this process has, and the server's has not: a member's devices, for one."""
    return {name: value for name, value in os.environ.items() if _environment.get(name) != value}


def inherit() -> None:
    """In a fork of the process whose child the server is: connect to it, but never wait for it."""
    server: Any = forkserver._forkserver
    forkserver.ensure_running = server.ensure_running = lambda: None


def let_go() -> None:
    """Have nothing to do with the server any more, whose end is nobody's loss here."""
    server: Any = forkserver._forkserver
    if server._forkserver_alive_fd is not None:
        os.close(server._forkserver_alive_fd)
    if _pid():
        with contextlib.suppress(ChildProcessError):
            os.waitpid(_pid(), os.WNOHANG)
    vars(server).pop("ensure_running", None)
    forkserver.ensure_running = server.ensure_running
    server._forkserver_address = server._forkserver_alive_fd = server._forkserver_pid = None


@contextlib.contextmanager
def without_main() -> Iterator[None]:
    """Hide the main module from multiprocessing, whose children would run the user's script again."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def _pid() -> int:
    return forkserver._forkserver._forkserver_pid or 0  # type: ignore[attr-defined]


def _end(server: int, starter: int) -> None:
    """With its command, even while it is still importing: it may have been started for nothing."""
    if os.getpid() == starter and _pid() == server:
        with contextlib.suppress(ProcessLookupError):
            os.kill(server, signal.SIGKILL)


def imports_of(trainer: str) -> list[str]:
    """Modules imported anywhere in the trainer's file, less its neighbours, which may change between runs."""
    path = Path(trainer.rpartition(":")[0] or trainer)
    if path.suffix != ".py" or not path.is_file():
        return []
    try:
        tree = ast.parse(path.read_bytes(), filename=str(path))
    except UNREADABLE:
        # Said by whoever is to use it.
        return []
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module)
    neighbours = {p.stem for p in path.parent.iterdir()}
    return sorted(n for n in names if n.partition(".")[0] not in neighbours | {"NimbleSDK", "__future__"})
