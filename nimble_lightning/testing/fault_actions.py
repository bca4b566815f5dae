"""Doing each kind of harm to this very process."""

from __future__ import annotations

import errno
import itertools
import os
import signal
import threading

from nimble_lightning.testing.fault_plan import DISK, Fault, exception

_SIGNALS = {"kill": signal.SIGKILL, "term": signal.SIGTERM, "stop": signal.SIGSTOP}


def strike(fault: Fault, where: str) -> None:
    """Carry out a fault. Returns only from `term`, and from `stop` once somebody continues the process.

    Args:
        fault: Anything but `nan`, which needs a loss to spoil.
        where: Ends up in the text of exceptions.
    """
    if fault.kind in _SIGNALS:
        os.kill(os.getpid(), _SIGNALS[fault.kind])
    elif fault.kind == "hang":
        deadlock()
    elif fault.kind == "spin":
        spin()
    else:
        raise error_of(fault, where)


def error_of(fault: Fault, where: str) -> Exception:
    """The exception a fault raises, in the words of whoever would raise it in earnest."""
    if fault.kind in DISK:
        number = getattr(errno, fault.kind.upper())
        return OSError(number, os.strerror(number))
    if fault.kind == "oom":
        import torch

        return torch.OutOfMemoryError(f"CUDA out of memory. Rehearsed {where}.")
    kind = exception(fault.error) or RuntimeError
    return kind(f"rehearsed {where}")


def deadlock() -> None:
    """Wait for a lock that nobody will release. Python's signal handlers still run."""
    lock = threading.Lock()
    lock.acquire()
    lock.acquire()


def spin() -> None:
    """Count nothing for ever, inside C and holding the interpreter: no other thread, no handler runs."""
    sum(itertools.repeat(0))
