"""A worker does not outlive its supervisor."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_LOOK_SECONDS = 0.5


def die_with(supervisor: int) -> None:
    """End this process soon after its supervisor, however that ended.

    The fork server, this process's parent, lives as long as any of its children, so its end comes too late;
    the kernel is asked to tell of it for the case that it is killed alone.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    threading.Thread(target=_watch, args=(supervisor,), name="nimble-parent", daemon=True).start()


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and was not asked for its exit code yet does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        # Somebody else's by now: the number has been used again.
        return False
    try:
        facts = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        # Gone this moment, or a system without such files, where the first answer has to do.
        return not Path("/proc/self/stat").exists()
    state = facts.rpartition(")")[2].split()[0]
    return state not in ("Z", "X")


def _watch(supervisor: int) -> None:
    while alive(supervisor):
        time.sleep(_LOOK_SECONDS)
    os._exit(1)
