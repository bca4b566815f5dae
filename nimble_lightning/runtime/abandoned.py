"""The end of an attempt that nobody was left to put on record, by what its ranks have left in the folder."""

from __future__ import annotations

from dataclasses import dataclass

from nimble_lightning.ops.run_files import read_json
from nimble_lightning.run_folder import RunFolder
from nimble_lightning.runtime.heartbeat import Beat, read
from nimble_lightning.runtime.outcome import Evidence, Outcome, errors_of, judge


@dataclass(frozen=True)
class Abandoned:
    """The end of an attempt whose supervisor, or first rank, was killed.

    Attributes:
        outcome: As far as it can be known.
        step: The last one that was reached.
        at: When there was the last sign of it.
    """

    outcome: Outcome
    step: int
    at: float


def abandoned(folder: RunFolder) -> Abandoned | None:
    """What became of the last attempt in run.json; None if that stands there."""
    attempts = read_json(folder.run).get("attempts") or [{"end": 0.0}]
    if "end" in attempts[-1]:
        return None
    number = attempts[-1]["number"]
    beats = beats_of(folder, number)
    signs = [file.stat().st_mtime for file in folder.heartbeats()]
    step = max((beat.step for beat in beats.values()), default=attempts[-1]["first_step"])
    outcome = judge(Evidence(errors=errors_of(folder, number), beats=beats))
    return Abandoned(outcome, step, max(signs, default=attempts[-1]["start"]))


def beats_of(folder: RunFolder, attempt: int) -> dict[int, Beat]:
    """The last sign of life of each rank in an attempt."""
    files = {int(file.suffix[1:]): file for file in folder.heartbeats(attempt)}
    return {rank: beat for rank, file in files.items() if (beat := read(file)) is not None}
