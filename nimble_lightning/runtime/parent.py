"""A worker does not outlive its supervisor."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time

_PR_SET_PDEATHSIG = 1


def die_with(supervisor: int) -> None:
    """Let the kernel kill this process when the fork server is gone, which ends with the supervisor.

    Elsewhere than on Linux, and should the fork server live on, the process looks for itself every second.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    threading.Thread(target=_watch, args=(supervisor,), name="nimble-parent", daemon=True).start()


def _watch(supervisor: int) -> None:
    while True:
        try:
            os.kill(supervisor, 0)
        except ProcessLookupError:
            os._exit(1)
        except PermissionError:
            pass
        time.sleep(1.0)
