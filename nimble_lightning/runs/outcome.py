"""Why an attempt ended, told from what its ranks left behind and from how they went."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from nimble_lightning.ops.end_causes import Cause
from nimble_lightning.ops.exit_codes import ExitCode
from nimble_lightning.ops.failures import DISK_FULL
from nimble_lightning.ops.run_files import read_json
from nimble_lightning.run_folder import RunFolder
from nimble_lightning.runs.causes import cause_of, is_consequence
from nimble_lightning.runs.heartbeat import Beat

# A process that crashes by itself ends by one of these; the rest come from outside.
_CRASHES = frozenset(
    {
        signal.SIGSEGV,
        signal.SIGBUS,
        signal.SIGABRT,
        signal.SIGFPE,
        signal.SIGILL,
        signal.SIGTRAP,
        signal.SIGSYS,
    }
)
# A rank's sudden end is noticed a little late: complaints written so long before may still be about it.
_ABOUT_NOW = 1.0


@dataclass(frozen=True)
class Hang:
    """The rank that has been silent for longest, for how long, after which step and, once asked, where."""

    rank: int
    step: int
    seconds: float
    where: str = ""


@dataclass(frozen=True)
class Outcome:
    """How an attempt ended.

    Attributes:
        cause: The class of the reason.
        reason: One line for people.
        rank: The rank that failed first.
        step: The last step it reached, where known.
        fingerprint: Equal for failures that are the same; empty for what comes from outside the program.
        counts: Whether it is one of the failures that a run is started again after only so often.
    """

    cause: Cause
    reason: str = ""
    rank: int | None = None
    step: int | None = None
    fingerprint: str = ""
    counts: bool = True

    def __str__(self) -> str:
        """In one line: who, where, why."""
        where = "" if self.rank is None else f"rank {self.rank}"
        where += "" if self.step is None else f" at step {self.step}"
        return f"{where}: {self.reason}" if where else self.reason


@dataclass
class Evidence:
    """What is known about an attempt once it is over.

    Attributes:
        finished: Whether the run's finished flag was written.
        errors: What ranks wrote down, in any order.
        exit_codes: By rank, as far as torchelastic told; negative for signals.
        beats: Each rank's last sign of life.
        gone: When a rank was first seen to be gone, in seconds since the epoch.
        hang: What the watchdog found.
        out_of_memory: Whether the kernel killed for want of memory meanwhile.
        trouble: Why the workers could not be started.
        lost: By rank, the machine it was on, where that was lost.
        server_lost: Whether the server that workers are forked from is gone, and they with it.
        told_ranks_stay: Whether a rank that was told to end is there until this has been judged.
    """

    finished: bool = False
    errors: list[dict[str, Any]] = field(default_factory=list)
    exit_codes: Mapping[int, int] = field(default_factory=dict)
    beats: Mapping[int, Beat] = field(default_factory=dict)
    gone: Mapping[int, float] = field(default_factory=dict)
    hang: Hang | None = None
    out_of_memory: bool = False
    trouble: str | None = None
    lost: Mapping[int, str] = field(default_factory=dict)
    server_lost: bool = False
    told_ranks_stay: bool = False

    def silent(self) -> int | None:
        """The rank that first ended without a word."""
        wrote = {e["rank"] for e in self.errors}
        ranks = [r for r in {*self.beats, *self.exit_codes, *self.gone, *self.lost} if r not in wrote]
        return min(ranks, key=lambda r: (self.gone.get(r, float("inf")), r), default=None)


def judge(evidence: Evidence) -> Outcome:
    """Put the evidence together; what happened first counts, the rest are its consequences."""
    if evidence.finished:
        # What came after that is no reason to do it again, but has to be told.
        trouble = evidence.errors or evidence.exit_codes or evidence.hang or evidence.trouble
        return Outcome(Cause.FINISHED, judge(replace(evidence, finished=False)).reason if trouble else "")
    if evidence.trouble and evidence.server_lost:
        return _without_server(None, None)
    if evidence.trouble and not evidence.lost:
        return Outcome(
            Cause.TRANSIENT,
            f"the workers could not be started: {evidence.trouble}",
            fingerprint=evidence.trouble,
        )
    if evidence.hang is not None:
        return _hung(evidence.hang)
    by_time = sorted(evidence.errors, key=lambda e: e["time"])
    ends = [e for e in by_time if "SystemExit" in e["bases"]]
    errors = [e for e in by_time if "SystemExit" not in e["bases"]]
    first = next((e for e in errors if not _follows(e)), None)
    silent = evidence.silent()
    # A rank told to end may go while it is writing that down: its exit code alone speaks of a kill then.
    may_be_told = not evidence.told_ranks_stay and silent not in evidence.exit_codes
    only_told = first is None and bool(ends) and may_be_told
    if silent is not None and not only_told and _came_before(evidence, silent, first):
        return _killed(evidence, silent)
    if first is not None:
        return _failed(first)
    if ends:
        # A rank that knows why it was to end says more than those that followed it.
        return _stopped(next((e for e in ends if e["type"] == "OutOfTime"), ends[0]))
    if evidence.server_lost:
        return _without_server(silent, None)
    if errors:
        return _failed(errors[0])
    return Outcome(Cause.KILLED, "the workers ended without a word")


def errors_of(folder: RunFolder, attempt: int) -> list[dict[str, Any]]:
    """What the ranks of an attempt wrote down."""
    found = [read_json(path) for path in folder.errors.glob(f"attempt-{attempt}.rank-*.json")]
    return [error for error in found if error]


def _came_before(evidence: Evidence, silent: int, first: dict[str, Any] | None) -> bool:
    """A rank cleared away after another one's error ends later than that error was written."""
    if first is None:
        return True
    # An error that explains itself is no complaint about somebody else's end.
    _, known = cause_of(first["bases"], first["message"])
    return silent in evidence.gone and evidence.gone[silent] < first["time"] + (0.0 if known else _ABOUT_NOW)


def _follows(error: dict[str, Any]) -> bool:
    """Whether an error is there because another rank failed, or because its rank was told to end."""
    return bool(error.get("asked")) or is_consequence(error["bases"], error["message"])


def _hung(hang: Hang) -> Outcome:
    reason = f"no step for {hang.seconds:.0f} s" + (f"; {hang.where}" if hang.where else "")
    return Outcome(Cause.HANG, reason, hang.rank, hang.step, fingerprint="hang")


def _killed(evidence: Evidence, rank: int) -> Outcome:
    beat = evidence.beats.get(rank)
    step = None if beat is None else beat.step
    if rank in evidence.lost:
        return Outcome(Cause.KILLED, f"the node {evidence.lost[rank]} was lost", rank, step)
    if evidence.server_lost:
        return _without_server(rank, step)
    code = evidence.exit_codes.get(rank)
    if code in (ExitCode.TERMINATED, -signal.SIGTERM):
        return Outcome(Cause.PREEMPTED, "stopped by SIGTERM from outside", rank, step)
    if code == DISK_FULL:
        return Outcome(Cause.TRANSIENT, "the disk is full: No space left on device (ENOSPC)", rank, step)
    if code is not None and code >= 0:
        reason = f"the process ended by itself with code {code} and no error"
        return Outcome(Cause.TRANSIENT, reason, rank, step, fingerprint=reason)
    number = None if code is None else -code
    by = "a signal" if number is None else signal.Signals(number).name
    if number in _CRASHES:
        return Outcome(Cause.KILLED, f"crashed with {by}", rank, step, fingerprint=f"crashed with {by}")
    if evidence.out_of_memory and number in (None, signal.SIGKILL):
        return Outcome(Cause.HOST_MEMORY, "killed by the system, which had run out of memory", rank, step)
    return Outcome(Cause.KILLED, f"killed by {by}", rank, step)


def _without_server(rank: int | None, step: int | None) -> Outcome:
    return Outcome(
        Cause.KILLED, "the server that workers are forked from was killed", rank, step, counts=False
    )


def _stopped(error: dict[str, Any]) -> Outcome:
    if error["type"] == "OutOfTime":
        return Outcome(Cause.STOPPED, error["message"], error["rank"], error["step"])
    if "SIGTERMException" in error["bases"] or error["message"] == str(ExitCode.TERMINATED):
        return Outcome(Cause.PREEMPTED, "stopped by SIGTERM from outside", error["rank"], error["step"])
    return Outcome(
        Cause.DETERMINISTIC,
        f"the program left by itself with code {error['message']}",
        error["rank"],
        error["step"],
        "left",
    )


def _failed(error: dict[str, Any]) -> Outcome:
    name, message = error["type"], (error["message"] or "").strip()
    first_line = message.splitlines()[0] if message else ""
    reason = f"{name}: {first_line}" if first_line else name
    if "NimbleError" in error["bases"]:
        # Its text is meant for people, with what to type next on its later lines.
        reason = message
    cause, known = cause_of(error["bases"], message, str(error.get("traceback") or ""))
    outside = cause is Cause.TRANSIENT and (known or _follows(error))
    return Outcome(cause, reason, error["rank"], error["step"], fingerprint="" if outside else reason)
