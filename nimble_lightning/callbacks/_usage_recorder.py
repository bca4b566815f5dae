"""What a Trainer adds to the account of its run: who it is, how far it is, and the files on the disk."""

from __future__ import annotations

import itertools
import json
import os
import sys
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import torch

from nimble_lightning.gpu import devices_in_use
from nimble_lightning.ops.process_environment import RUN
from nimble_lightning.ranks import share_of_data
from nimble_lightning.run_folder import JOB, RECORD
from nimble_lightning.usage import host_energy
from nimble_lightning.usage.account import UsageSubject, account, save_account
from nimble_lightning.usage.clock import Clock
from nimble_lightning.usage.energy import Energy
from nimble_lightning.usage.peaks import number_of, peak_of
from nimble_lightning.usage.prices import UsageTerms
from nimble_lightning.usage.rank_record import RankRecord, pieces, this_process
from nimble_lightning.usage.recorder import UsageRecorder
from nimble_lightning.usage.work_counters import WorkCounters

# A notebook is older than what is trained in it, and so is a process that comes to its second fit.
_clocks = itertools.count()
# Seconds; a clock that stands above them counts from the start of the process.
_OLDER = 0.1
# Putting the account together may take so much of a core at most.
_SHARE = 200.0


@dataclass(frozen=True)
class RecordPlace:
    """Where an account is kept, and of which run.

    Attributes:
        folder: Of the run.
        run: Its id, the same on all ranks; earlier runs may have left pieces in the same folder.
        recorded: Whether a supervisor records attempts there and writes the account at the end.
    """

    folder: Path
    run: str
    recorded: bool

    @classmethod
    def of(cls, trainer: L.Trainer, folder: Path) -> RecordPlace:
        """To be asked on every rank, in `setup`."""
        if (folder / JOB).exists():
            return cls(folder, str(_record(folder).get("run_id", "")), True)
        new: str = trainer.strategy.broadcast(uuid.uuid4().hex[:12])
        return cls(folder, os.environ.get(RUN, new), False)

    def attempts(self) -> list[dict[str, Any]]:
        """As the supervisor records them."""
        return list(_record(self.folder).get("attempts", [])) if self.recorded else []

    def next_attempt(self, rank: int) -> int:
        if self.recorded:
            return max(1, len(self.attempts()))
        return 1 + max((p.attempt for p in pieces(self.folder, self.run) if p.rank == rank), default=0)


class TrainerUsage:
    """Keeps the piece of this process, and on the first rank the account of the whole run.

    Args:
        trainer: Whose run it is.
        place: Where to.
        terms: Prices and the like.
        clock: Where the time goes.
        work: What has been done.
    """

    def __init__(
        self, trainer: L.Trainer, place: RecordPlace, terms: UsageTerms, clock: Clock, work: WorkCounters
    ) -> None:
        self.place = place
        self.usage: dict[str, Any] | None = None
        self.watch: Callable[[dict[str, Any]], None] = lambda usage: None
        self.every = 10.0
        self._trainer = trainer
        self._terms = terms
        self._work = work
        self._due = 0.0
        after = self._account if trainer.is_global_zero else _nothing
        self.recorder = UsageRecorder(
            place.folder, self._piece(clock), clock, _energy(trainer, clock), look=self._look, after=after
        )

    def are_of(self, trainer: L.Trainer, folder: Path) -> bool:
        return trainer is self._trainer and folder == self.place.folder

    def close(self) -> None:
        """Write the account for the last time; where a supervisor does that, as it stands."""
        self.recorder.guard(lambda: self._save(final=not self.place.recorded))

    def _save(self, *, final: bool) -> dict[str, Any]:
        place, own = self.place, self.recorder.piece
        subject = UsageSubject(
            run_id=place.run,
            name=_name(place),
            recorded=place.attempts(),
            ranks=self._trainer.world_size,
            final=final,
        )
        others = (
            p for p in pieces(place.folder, place.run) if (p.attempt, p.rank) != (own.attempt, own.rank)
        )
        self.usage = account(subject, [*others, own], self._terms)
        save_account(place.folder, self.usage)
        return self.usage

    def _account(self) -> None:
        """In the thread, every few seconds."""
        now = time.monotonic()
        if now >= self._due:
            usage = self._save(final=False)
            self._due = now + max(self.every, _SHARE * (time.monotonic() - now))
            self.watch(usage)

    def _piece(self, clock: Clock) -> RankRecord:
        trainer, device = self._trainer, self._trainer.strategy.root_device
        on_gpu = device.type == "cuda"
        name = torch.cuda.get_device_name(device) if on_gpu else device.type
        peak, note = self._terms.peak_flops, "peak_flops as given"
        if peak is None:
            # Products of 32-bit numbers may be rounded on the way unless the highest precision is asked for.
            tf32 = torch.get_float32_matmul_precision() != "highest"
            peak, note = peak_of(name, number_of(str(trainer.precision), tf32=tf32))
        piece = RankRecord(
            attempt=self.place.next_attempt(trainer.global_rank),
            rank=trainer.global_rank,
            world_size=trainer.world_size,
            sharing=trainer.world_size // share_of_data(trainer.strategy)[1],
            run=self.place.run,
            started=time.time() - sum(clock.read().seconds.values()),
            device=name,
            precision=str(trainer.precision),
            peak_flops=peak,
            peak_note=note,
        )
        return this_process(piece)

    def _look(self) -> None:
        piece, trainer = self.recorder.piece, self._trainer
        if self._work.first_step is not None:
            piece.first_step, piece.last_step = self._work.first_step, trainer.global_step
        device = trainer.strategy.root_device
        peak = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else host_energy.memory_peak()
        piece.peak_memory = max(peak, piece.peak_memory or 0)
        self._work.tell(piece)


def new_clock() -> Clock:
    """One that counts from the start of the process, where that was for the sake of this fit."""
    interactive = hasattr(sys, "ps1") or "ipykernel" in sys.modules
    return Clock(age=host_energy.process_age() if next(_clocks) == 0 and not interactive else 0.0)


def _energy(trainer: L.Trainer, clock: Clock) -> Energy:
    device = trainer.strategy.root_device
    own = [gpu for gpu in devices_in_use() if device.type == "cuda" and gpu.index == device.index]
    older = clock.read().total > _OLDER
    return Energy(own, host_energy.Rapl(mine=trainer.local_rank == 0), from_birth=older)


def _name(place: RecordPlace) -> str:
    if place.recorded:
        return place.folder.parent.name
    script = Path(sys.argv[0]).stem if sys.argv and sys.argv[0] else ""
    return script or place.folder.name


def _record(folder: Path) -> dict[str, Any]:
    try:
        content = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _nothing() -> None:
    """Other ranks have their piece alone to write."""
