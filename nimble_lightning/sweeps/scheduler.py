"""A sweep: so many members at once, each given a slot when there is room for it, all ended when asked to."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

# Imported here, and so before the first fork: every member has them from there.
import torch.distributed.launcher.api  # noqa: F401

import nimble_lightning.report.write_page
import nimble_lightning.supervision.supervisor  # noqa: F401
from nimble_lightning.errors import RequestError
from nimble_lightning.ops.exit_codes import ExitCode
from nimble_lightning.ops.signals import heard
from nimble_lightning.run_folder import SWEEP_LOCK
from nimble_lightning.runs import device_count
from nimble_lightning.runs.lock import RunLock
from nimble_lightning.settings import Local, RunSettings
from nimble_lightning.sweeps.member_process import DeviceShare, MemberProcess, cores, shares, speaking

LOOK_SECONDS = 0.1
# What kills the process that supervises a member is nothing the member did.
MOST_STARTS = 6


@dataclass(frozen=True)
class SweepJob:
    """What one member does.

    Attributes:
        number: Of the member in its sweep.
        folder: Of its run.
        work: Done in a process of its own, once it has taken its slot; what it returns is the answer.
    """

    number: int
    folder: Path
    work: Callable[[], Any]


class Watcher(Protocol):
    """Who shows how a sweep goes."""

    def started(self, job: SweepJob) -> None: ...
    def ended(self, job: SweepJob, answer: Any) -> None: ...
    def look(self, folders: Mapping[int, Path]) -> None: ...
    def winding_down(self) -> None: ...


class Sweep:
    """Runs the members of a sweep.

    Ctrl-C once lets those that run come to their end and starts no more; twice, SIGTERM, or the end of the
    terminal stops all. A member whose supervising process is killed is started again, and goes on where its
    run was.

    Args:
        folder: Of the sweep; one command at a time works in it.
        room: What each of those that run at once may use.
        watcher: Told of every start and end.
        ahead: So many more are made ready, and wait until there is room. 0: what the next one does depends on
            what came of those that run.
    """

    def __init__(self, folder: Path, room: list[DeviceShare], watcher: Watcher, ahead: int = 0) -> None:
        self._folder = folder
        self._free = room
        self._watcher = watcher
        self._ahead = ahead
        self._signals: list[signal.Signals] = []
        self._winding_down = False
        self._passed_on = 0
        self._waiting: dict[MemberProcess, SweepJob] = {}
        self._running: dict[MemberProcess, SweepJob] = {}
        self._slots: dict[MemberProcess, DeviceShare] = {}
        self._again: list[SweepJob] = []
        self._starts: Counter[int] = Counter()

    @property
    def exit_code(self) -> int | None:
        """What the command ends with if it was asked to stop."""
        if not self._signals:
            return None
        return ExitCode.INTERRUPTED if self._signals[0] == signal.SIGINT else ExitCode.TERMINATED

    def run(self, jobs: Iterator[SweepJob]) -> dict[int, Any]:
        """The answer of every member that was started, by its number.

        Args:
            jobs: Asked for the next one when it can get ready, and not before.

        Raises:
            RequestError: The sweep is already going on.
        """
        answers: dict[int, Any] = {}
        with RunLock(self._folder / SWEEP_LOCK), heard(self._signals):
            while (busy := self._fill(jobs)) or self._running or self._waiting:
                for member in speaking([*self._running, *self._waiting], 0 if busy else LOOK_SECONDS):
                    self._hear(member, answers)
                self._pass_on()
                self._watcher.look({member.number: member.folder for member in self._running})
        return answers

    def _fill(self, jobs: Iterator[SweepJob]) -> bool:
        """Let a member start, or one more get ready; whether there was one."""
        if self._signals:
            return False
        if self._waiting and self._free:
            member = next(iter(self._waiting))
            job = self._running[member] = self._waiting.pop(member)
            share = self._slots[member] = self._free.pop(0)
            member.give_slot(share)
            self._watcher.started(job)
            return True
        if len(self._waiting) >= max(self._ahead, len(self._free)):
            return False
        next_job = self._again.pop() if self._again else next(jobs, None)
        if next_job is not None:
            self._starts[next_job.number] += 1
            self._waiting[MemberProcess(next_job.number, next_job.folder, next_job.work)] = next_job
        return next_job is not None

    def _hear(self, member: MemberProcess, answers: dict[int, Any]) -> None:
        """It has left its slot, or ended, or both."""
        over = member.listen()
        if member in self._slots:
            self._free.insert(0, self._slots.pop(member))
        if not over:
            return
        job = self._waiting.pop(member, None) or self._running.pop(member)
        if member.killed and not self._signals and self._starts[job.number] < MOST_STARTS:
            self._again.append(job)
        else:
            answers[job.number] = member.answer
            self._watcher.ended(job, member.answer)

    def _pass_on(self) -> None:
        """What the members are to know of what was asked of the command: all but a first Ctrl-C."""
        if self._signals:
            while self._waiting:
                self._waiting.popitem()[0].dismiss()
        gently = self._signals[:1] == [signal.SIGINT]
        if gently and self._running and not self._winding_down:
            self._winding_down = True
            self._watcher.winding_down()
        meant = self._signals[1:] if gently else self._signals
        for number in meant[self._passed_on :]:
            for member in self._running:
                member.signal(number)
        self._passed_on = len(meant)


def room(asked: RunSettings, members: int) -> list[DeviceShare]:
    """What each member of those that run at once may use, by `launch.jobs` and the machine.

    Raises:
        RequestError: `launch.jobs` is no number of members.
    """
    wanted = asked.launch.jobs if isinstance(asked.launch, Local) else "auto"
    if wanted != "auto" and (not isinstance(wanted, int) or wanted < 1):
        raise RequestError(f"launch.jobs={wanted!r}: expected a number of members at once, or auto.")
    found = device_count.visible(asked.processes)
    # Of all the devices a member alone would take, in a sweep it takes one.
    all_of_them = asked.processes.devices in ("auto", -1, "-1")
    each = 1 if all_of_them else device_count.count(asked.processes)
    fit = max(1, (len(found) or cores()) // each)
    count = min(members, fit if wanted == "auto" else wanted)
    return shares(count, fit, found, each)
