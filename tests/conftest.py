"""Every test starts in an empty folder of its own and must leave the process as it found it."""

from __future__ import annotations

import gc
import itertools
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

# Tests run side by side on few cores, and nothing may be fetched: subprocesses inherit this.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", TOKENIZERS_PARALLELISM="false")

# What Lightning, torch and Hugging Face set by themselves; it is put back all the same.
_SET_BY_OTHERS = (
    "PL_",
    "PYTORCH_",
    "MASTER_",
    "NODE_RANK",
    "LOCAL_RANK",
    "WORLD_SIZE",
    "RANK",
    "TORCH",
    "KMP_",
    "CUBLAS_",
    "CUDA_",
)
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP)
_HELPERS = ("resource_tracker", "forkserver")


@pytest.fixture(scope="module", autouse=True)
def looks_for_garbage_of_its_own() -> None:
    # Or each look goes through all that torch, Lightning and the modules before this one have brought along.
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def homes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder for each test. Pytest, which looks for a free number each time, would be slower with each."""
    place = tmp_path_factory.mktemp("cwd")
    return (place / str(number) for number in itertools.count())


@pytest.fixture(autouse=True)
def leaves_nothing_behind(homes: Iterator[Path], request: pytest.FixtureRequest) -> Iterator[None]:
    home, environ, handlers = os.getcwd(), dict(os.environ), [signal.getsignal(s) for s in _SIGNALS]
    threads, children = set(threading.enumerate()), set(_children())
    # Those that come from a fork server are its children.
    forked = set(multiprocessing.active_children())
    own = next(homes)
    own.mkdir()
    os.chdir(own)
    yield
    os.chdir(home)
    _one_lightning_no_more()
    left = _environment_left(environ)
    left += [
        f"a handler for {s.name}"
        for s, was in zip(_SIGNALS, handlers, strict=True)
        if signal.getsignal(s) != was
    ]
    for number, was in zip(_SIGNALS, handlers, strict=True):
        signal.signal(number, was)
    left += [f"the thread {thread.name}" for thread in _gone(lambda: _threads_left(threads))]
    left += [f"the process {' '.join(child.cmdline())}" for child in _gone(lambda: _children_left(children))]
    for process in _gone(lambda: [p for p in multiprocessing.active_children() if p not in forked]):
        left.append(f"the process {process.pid}, {process.name}")
        process.kill()
    left += _process_group_left()
    if left:
        pytest.fail(f"{request.node.name} left behind: {', '.join(left)}")


def _one_lightning_no_more() -> None:
    """In a process that has done a run both names mean one package; other tests want the two."""
    aliases = [finder for finder in sys.meta_path if type(finder).__module__.endswith(".lightning_alias")]
    for finder in aliases:
        sys.meta_path.remove(finder)
    if aliases:
        for name in [
            name for name in sys.modules if name.startswith(("pytorch_lightning", "lightning_fabric"))
        ]:
            del sys.modules[name]


def _environment_left(before: dict[str, str]) -> list[str]:
    changed = [
        name
        for name in {*before, *os.environ}
        if before.get(name) != os.environ.get(name) and not name.startswith((*_SET_BY_OTHERS, "PYTEST_"))
    ]
    os.environ.clear()
    os.environ.update(before)
    return [f"the variable {name}" for name in changed]


def _threads_left(before: set[threading.Thread]) -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t not in before and not t.daemon and t.is_alive()]


def _children_left(before: set[psutil.Process]) -> list[psutil.Process]:
    return [child for child in _children() if child not in before and not _helper(child)]


def _children() -> list[psutil.Process]:
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        # None at all, for which all processes of the machine need not be looked through.
        return []
    return psutil.Process().children()  # type: ignore[no-any-return]


def _helper(process: psutil.Process) -> bool:
    try:
        return process.status() == psutil.STATUS_ZOMBIE or any(
            h in " ".join(process.cmdline()) for h in _HELPERS
        )
    except psutil.Error:
        return True


def _gone(left: Callable[[], list[Any]], seconds: float = 3.0) -> list[Any]:
    """What is still left after a moment's grace."""
    until = time.monotonic() + seconds
    while (still := left()) and time.monotonic() < until:
        time.sleep(0.05)
    return still


def _process_group_left() -> list[str]:
    if (distributed := sys.modules.get("torch.distributed")) is None:
        return []
    if not distributed.is_available() or not distributed.is_initialized():
        return []
    distributed.destroy_process_group()
    return ["a process group"]
