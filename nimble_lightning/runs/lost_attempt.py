"""The end of an attempt that nobody was left to put on record, by what its ranks have left in the folder."""

from __future__ import annotations

import time
from dataclasses import dataclass

from nimble_lightning.ops.run_files import read_json
from nimble_lightning.run_folder import RunFolder
from nimble_lightning.runs.heartbeat import Beat, read
from nimble_lightning.runs.outcome import Evidence, Outcome, errors_of, judge
from nimble_lightning.runs.process_tree import alive

_ORPHAN_SECONDS = 3.0
_LOOK_SECONDS = 0.03


@dataclass(frozen=True)
class LostAttempt:
    """The end of an attempt whose supervisor, or first rank, was killed.

    Attributes:
        outcome: As far as it can be known.
        step: The last one that was reached.
        at: When there was the last sign of it.
    """

    outcome: Outcome
    step: int
    at: float


def abandoned(folder: RunFolder) -> LostAttempt | None:
    """What became of the last attempt in run.json; None if that stands there."""
    attempts = read_json(folder.run).get("attempts") or [{"end": 0.0}]
    if "end" in attempts[-1]:
        return None
    number = attempts[-1]["number"]
    beats = beats_of(folder, number)
    signs = [file.stat().st_mtime for file in folder.heartbeats()]
    step = max((beat.step for beat in beats.values()), default=attempts[-1]["first_step"])
    outcome = judge(Evidence(errors=errors_of(folder, number), beats=beats))
    return LostAttempt(outcome, step, max(signs, default=attempts[-1]["start"]))


def beats_of(folder: RunFolder, attempt: int) -> dict[int, Beat]:
    """The last sign of life of each rank in an attempt."""
    files = {int(file.suffix[1:]): file for file in folder.heartbeats(attempt)}
    return {rank: beat for rank, file in files.items() if (beat := read(file)) is not None}


def wait_for_orphans(folder: RunFolder) -> None:
    """Workers of a supervisor that was killed end by themselves; until then the folder is theirs."""
    files = folder.heartbeats()
    until = time.monotonic() + _ORPHAN_SECONDS
    pids = [beat.pid for file in files if (beat := read(file)) is not None]
    while any(alive(pid) for pid in pids) and time.monotonic() < until:
        time.sleep(_LOOK_SECONDS)
    for file in files:
        file.unlink(missing_ok=True)
