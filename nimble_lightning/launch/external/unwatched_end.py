"""Why an attempt ended that nobody watched, by what its ranks have left in the run folder."""

from __future__ import annotations

import time

from nimble_lightning.launch.external.detect import Ranks
from nimble_lightning.run_folder import RunFolder
from nimble_lightning.runs.causes import is_consequence
from nimble_lightning.runs.lost_attempt import beats_of
from nimble_lightning.runs.outcome import Evidence, Outcome, errors_of, judge
from nimble_lightning.runs.process_tree import alive

# A rank that failed writes it down a moment after the others have lost it.
_WORD_SECONDS = 1.5
_LOOK_SECONDS = 0.05


def why_ended(error: BaseException, folder: RunFolder, attempt: int, ranks: Ranks) -> Outcome:
    """Seen from the first rank, which ended by an error that may be no more than a consequence."""
    names = [kind.__name__ for kind in type(error).__mro__]
    until = time.monotonic() + (_WORD_SECONDS if is_consequence(names, str(error)) else 0.0)
    while (outcome := judge(_evidence(folder, attempt, ranks))).rank == 0 and time.monotonic() < until:
        time.sleep(_LOOK_SECONDS)
    return outcome


def _evidence(folder: RunFolder, attempt: int, ranks: Ranks) -> Evidence:
    # Of processes on other machines nobody here can say whether they are gone.
    beats = {rank: beat for rank, beat in beats_of(folder, attempt).items() if rank < ranks.local_size}
    dead = {rank: beat for rank, beat in beats.items() if not alive(beat.pid)}
    now = time.time()
    return Evidence(errors=errors_of(folder, attempt), beats=dead, gone={rank: now for rank in dead})
