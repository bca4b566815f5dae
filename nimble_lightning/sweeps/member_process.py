"""The members of a sweep: a forked process for each, which supervises its run and answers."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import connection
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from nimble_lightning.run_folder import LOG
from nimble_lightning.runs import slot
from nimble_lightning.runs.process_tree import signal_when_orphaned
from nimble_lightning.worker.server import forkserver

_ASKED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True)
class DeviceShare:
    """What one member may use of this machine.

    Attributes:
        devices: For CUDA_VISIBLE_DEVICES; None where there are none to share out.
        threads: For each of its processes.
    """

    devices: tuple[str, ...] | None
    threads: int

    def environment(self) -> dict[str, str]:
        threads = {"OMP_NUM_THREADS": str(self.threads)}
        return (
            threads if self.devices is None else {**threads, "CUDA_VISIBLE_DEVICES": ",".join(self.devices)}
        )


@dataclass(frozen=True)
class MemberReply:
    """What a member came to."""

    value: Any


class MemberProcess:
    """One member, from when it gets ready.

    A forked process has in memory what the command has imported, so it is there at once, and it gives all
    it took back when it ends. It has a process group of its own: Ctrl-C is for the command, which passes it
    on when it is meant for the members.

    Args:
        number: Of the member in its sweep.
        folder: Of its run; what it prints goes to the log there.
        work: What it does; it takes its slot before it uses anything there is too little of. The answer has
            to be something that can be pickled.

    Attributes:
        answer: What it came to; None as long as it runs, or when it failed or was killed before it could say.
        killed: Whether a signal ended it.
    """

    def __init__(self, number: int, folder: Path, work: Callable[[], Any]) -> None:
        self.number = number
        self.folder = folder
        self.answer: Any = None
        self.killed = False
        sys.stdout.flush()
        sys.stderr.flush()
        self.line, its = connection.Pipe()
        parent = os.getpid()
        # What it is asked before it can do as it is asked waits until then.
        signal.pthread_sigmask(signal.SIG_BLOCK, _ASKED)
        self.pid = os.fork()
        if self.pid == 0:
            self.line.close()
            _be(work, folder, parent, its)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _ASKED)
        its.close()

    def give_slot(self, share: DeviceShare) -> None:
        """Let it start."""
        with suppress(BrokenPipeError):
            self.line.send(share.environment())

    def listen(self) -> bool:
        """Hear what it says next: that it has left its slot, or, which is True, that it has ended."""
        try:
            said = self.line.recv()
        except (EOFError, ConnectionResetError):
            said = MemberReply(None)
        if not isinstance(said, MemberReply):
            return False
        self.answer = said.value
        self._bury()
        return True

    def signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def dismiss(self) -> None:
        """End it while it waits; in its folder is no more than what it was asked."""
        self.signal(signal.SIGKILL)
        self._bury()

    def _bury(self) -> None:
        self.line.close()
        self.killed = os.WIFSIGNALED(os.waitpid(self.pid, 0)[1])


def speaking(members: list[MemberProcess], seconds: float) -> list[MemberProcess]:
    """Those that have something to say within some time."""
    ready = connection.wait([member.line for member in members], seconds)
    return [member for member in members if member.line in ready]


def shares(count: int, fit: int, devices: list[str], each: int) -> list[DeviceShare]:
    """Divide devices, `each` for a member, and the cores of this machine among `count` members.

    Args:
        count: How many members run at once.
        fit: For how many of them there are devices; with more members, some share theirs.
        devices: All there are; empty where there is nothing but the CPU.
        each: How many processes, and so devices, a member has.
    """
    threads = max(1, cores() // (count * each))
    groups = [tuple(devices[i * each : (i + 1) * each]) for i in range(fit)]
    return [DeviceShare(groups[i % fit] if devices else None, threads) for i in range(count)]


def cores() -> int:
    """Those this process may use, which in a container are fewer than the machine has."""
    return len(os.sched_getaffinity(0))


def _be(work: Callable[[], Any], folder: Path, parent: int, line: Connection) -> None:
    """The life of a member. It never returns to what the command was doing when it was forked."""
    code = 1
    try:
        os.setpgid(0, 0)
        signal_when_orphaned(signal.SIGTERM)
        if os.getppid() != parent:
            # The command ended before the kernel was asked to tell of it.
            return
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
            signal.signal(signal.SIGHUP, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _ASKED)
        _print_to(folder)
        forkserver.inherit()
        slot.wait_for(line)
        line.send(MemberReply(work()))
        code = 0
    except BaseException:
        # Nobody else prints it: the process does not end as Python's do.
        traceback.print_exc()
        raise
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _print_to(folder: Path) -> None:
    """From here on everything this process says is in the log of its run."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    log = os.open(folder / LOG, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    # Whatever they were, a notebook's perhaps, they are not on these any more.
    sys.stdout = open(1, "w", buffering=1, encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, encoding="utf-8", closefd=False)  # noqa: SIM115
