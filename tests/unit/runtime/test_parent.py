"""A worker notices that its supervisor has ended, though nobody has asked for its exit code."""

from __future__ import annotations

import os
import signal
import time

from nimble_lightning.runtime.parent import alive


def test_a_process_is_alive_until_it_has_ended() -> None:
    if (pid := os.fork()) == 0:
        signal.pause()
    assert alive(pid)
    os.kill(pid, signal.SIGKILL)
    until = time.monotonic() + 5
    while alive(pid) and time.monotonic() < until:
        time.sleep(0.01)
    assert not alive(pid), "it is a zombie, and that is not alive"
    os.waitpid(pid, 0)
    assert not alive(pid)
