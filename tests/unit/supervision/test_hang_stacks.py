"""Where a hanging process stands, from the dump it wrote."""

from __future__ import annotations

import os
import signal

from nimble_lightning.supervision.hang_stacks import is_stopped, where

DUMP = """Thread 0x00007f01 (most recent call first):
  File "/usr/lib/python3.11/threading.py", line 331 in wait

Current thread 0x00007f02 (most recent call first):
  File "/usr/lib/python3.11/socket.py", line 706 in readinto
  File "/work_of_mine/my_trainer.py", line 12 in train
  File "/site-packages/lightning/pytorch/trainer/trainer.py", line 560 in fit
"""


def test_the_innermost_frame_and_the_users_own_are_named() -> None:
    assert where(DUMP) == "readinto (socket.py:706), called from train (my_trainer.py:12)"


def test_an_empty_dump_says_nothing() -> None:
    assert where("") == ""


def test_a_stopped_process_is_recognised() -> None:
    if (pid := os.fork()) == 0:
        os.kill(os.getpid(), signal.SIGSTOP)
        os._exit(0)
    os.waitpid(pid, os.WUNTRACED)
    assert is_stopped(pid)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    assert not is_stopped(pid)
