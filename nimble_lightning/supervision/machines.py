"""Whom a supervisor runs its job with: nobody, or the supervisors of other machines."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

from nimble_lightning.runs.heartbeat import Beat
from nimble_lightning.runs.outcome import Evidence, Outcome
from nimble_lightning.runs.result import Result
from nimble_lightning.supervision.stop_request import Stop

if TYPE_CHECKING:
    from nimble_lightning.supervision.worker_store import WorkerStore


class Machines(Protocol):
    """The machines of a run, to the supervisor that leads them."""

    def meet(self, stop: Stop) -> WorkerStore | None:
        """Come together for an attempt; None if the run is to stop instead."""

    def order(self, attempt: int, resume_from: str | None) -> None:
        """Have the others start their workers."""

    def look(self, beats: Mapping[int, Beat]) -> signal.Signals | None:
        """What to send to the workers here because of what happens elsewhere."""

    def gather(self, evidence: Evidence) -> Evidence:
        """Add what the others know about an attempt that is over here."""

    def reading(self, outcome: Outcome) -> Outcome:
        """An attempt's outcome, knowing why it was ended."""

    def again(self) -> None:
        """Tell the others that there will be another attempt."""

    def part(self, result: Result) -> None:
        """Tell the others how the run has ended, here at least."""


class SingleMachine:
    """One machine: it comes together with nobody, and at once."""

    def meet(self, stop: Stop) -> WorkerStore | None:
        # Here, because it brings torch, which an answer that starts nothing can do without.
        from nimble_lightning.supervision.worker_store import WorkerStore

        return WorkerStore.alone()

    def order(self, attempt: int, resume_from: str | None) -> None:
        return

    def look(self, beats: Mapping[int, Beat]) -> signal.Signals | None:
        return None

    def gather(self, evidence: Evidence) -> Evidence:
        return evidence

    def reading(self, outcome: Outcome) -> Outcome:
        return outcome

    def again(self) -> None:
        return

    def part(self, result: Result) -> None:
        return
