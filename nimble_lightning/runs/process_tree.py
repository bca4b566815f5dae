"""The parent of a worker: whatever the worker started ends with it, and all of it with the supervisor."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_LOOK_SECONDS = 0.5
# What is left when a worker has ended is asked to end, and ended when it has not after so long.
_GRACE_SECONDS = 1.0
# A process that even SIGKILL does not end waits in the kernel for a device.
_STUCK_SECONDS = 2.0
_PASSED_ON = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
# From the kernel, when the fork server is gone.
_ORPHANED = signal.SIGALRM
_HEARD = (*_PASSED_ON, _ORPHANED, signal.SIGCHLD)


def under_parent(work: Callable[[], None], supervisor: int) -> int:
    """Do the work in a child of this process; returns what that ended with, less than 0 for a signal.

    This process adopts whatever the child started and left, also what has gone into a session of its own.
    It ends all of that after the child, and at once when the supervisor or the fork server is gone.

    Args:
        work: What the child does; it ends with 0 when that returns.
        supervisor: The process that started the run.
    """
    server, here = os.getppid(), os.getpid()
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    signal.pthread_sigmask(signal.SIG_BLOCK, _HEARD)
    signal_when_orphaned(_ORPHANED)
    child = os.fork()
    if child == 0:
        signal_when_orphaned(signal.SIGKILL)
        if os.getppid() != here:
            os._exit(1)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _HEARD)
        _be_child(work)
    while not (ended := os.waitpid(child, os.WNOHANG))[0]:
        heard = signal.sigtimedwait(_HEARD, _LOOK_SECONDS)
        if heard is not None and heard.si_signo in _PASSED_ON:
            os.kill(child, heard.si_signo)
        elif os.getppid() != server or not alive(supervisor):
            os.kill(child, signal.SIGKILL)
    _end_children(_GRACE_SECONDS if alive(supervisor) else 0.0)
    return os.waitstatus_to_exitcode(ended[1])


def die_with(supervisor: int) -> None:
    """From here on this process ends when it is told to, and soon after the supervisor."""
    signal_when_orphaned(signal.SIGKILL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _HEARD)
    threading.Thread(target=_watch, args=(supervisor,), name="nimble-parent", daemon=True).start()


def signal_when_orphaned(number: int) -> None:
    """Have the kernel send this process a signal when its parent ends; only Linux can."""
    if sys.platform == "linux":
        _prctl(_PR_SET_PDEATHSIG, number)


def _watch(supervisor: int) -> None:
    while alive(supervisor):
        time.sleep(_LOOK_SECONDS)
    os._exit(1)


def end_like(code: int) -> NoReturn:
    """End this process as its child has ended."""
    if code < 0:
        # One core dump is enough.
        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
        number = signal.Signals(-code)
        if number != signal.SIGKILL:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [number])
        os.kill(os.getpid(), number)
    os._exit(code if code > 0 else 1)


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and was not asked for its exit code yet does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        # Somebody else's by now: the number has been used again.
        return False
    facts = _facts(pid)
    if facts is None:
        # Gone this moment, or a system without such files, where the first answer has to do.
        return not Path("/proc/self/stat").exists()
    return facts[0] not in ("Z", "X")


def _be_child(work: Callable[[], None]) -> NoReturn:
    code = 1
    try:
        work()
        code = 0
    except BaseException:
        # Nobody else prints it: the process does not end as Python's do.
        traceback.print_exc()
    finally:
        os._exit(code)


def _end_children(grace: float) -> None:
    """All that is left below this process; what a child of ours leaves becomes our own child."""
    asked = time.monotonic()
    while left := _children():
        waited = time.monotonic() - asked
        if waited > grace + _STUCK_SECONDS:
            return
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM if waited < grace else signal.SIGKILL)
        time.sleep(0.01)
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass


def _children() -> list[int]:
    numbers = [int(entry.name) for entry in os.scandir("/proc") if entry.name.isdigit()]
    here = str(os.getpid())
    return [pid for pid in numbers if (facts := _facts(pid)) is not None and facts[1] == here]


def _facts(pid: int) -> list[str] | None:
    """State, parent and so on, as the kernel tells them."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    return text.rpartition(")")[2].split()


def _prctl(option: int, value: int) -> None:
    ctypes.CDLL(None, use_errno=True).prctl(option, value)
