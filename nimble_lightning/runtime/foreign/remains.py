"""Why an attempt ended that nobody watched, by what its ranks have left in the run folder."""

from __future__ import annotations

import time
from dataclasses import dataclass

from nimble_lightning.runtime.causes import is_consequence
from nimble_lightning.runtime.folder import RunFolder, read_json
from nimble_lightning.runtime.foreign.ranks import Ranks
from nimble_lightning.runtime.heartbeat import Beat, read
from nimble_lightning.runtime.outcome import Evidence, Outcome, errors_of, judge
from nimble_lightning.runtime.parent import alive

# A rank that failed writes it down a moment after the others have lost it.
_WORD_SECONDS = 1.5
_LOOK_SECONDS = 0.05


@dataclass(frozen=True)
class Abandoned:
    """The end of an attempt whose first rank was killed.

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
    beats = _beats(folder, number)
    signs = [file.stat().st_mtime for file in folder.heartbeats()]
    step = max((beat.step for beat in beats.values()), default=attempts[-1]["first_step"])
    outcome = judge(Evidence(errors=errors_of(folder, number), beats=beats))
    return Abandoned(outcome, step, max(signs, default=attempts[-1]["start"]))


def why_ended(error: BaseException, folder: RunFolder, attempt: int, ranks: Ranks) -> Outcome:
    """Seen from the first rank, which ended by an error that may be no more than a consequence."""
    names = [kind.__name__ for kind in type(error).__mro__]
    until = time.monotonic() + (_WORD_SECONDS if is_consequence(names, str(error)) else 0.0)
    while (outcome := judge(_evidence(folder, attempt, ranks))).rank == 0 and time.monotonic() < until:
        time.sleep(_LOOK_SECONDS)
    return outcome


def _evidence(folder: RunFolder, attempt: int, ranks: Ranks) -> Evidence:
    # Of processes on other machines nobody here can say whether they are gone.
    beats = {rank: beat for rank, beat in _beats(folder, attempt).items() if rank < ranks.local_size}
    dead = {rank: beat for rank, beat in beats.items() if not alive(beat.pid)}
    now = time.time()
    return Evidence(errors=errors_of(folder, attempt), beats=dead, gone={rank: now for rank in dead})


def _beats(folder: RunFolder, attempt: int) -> dict[int, Beat]:
    files = {int(file.suffix[1:]): file for file in folder.heartbeats(attempt)}
    return {rank: beat for rank, file in files.items() if (beat := read(file)) is not None}
