"""How far a run is, told from outside by what its folder holds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from nimble_lightning.ops.end_causes import Cause
from nimble_lightning.ops.run_files import read_json
from nimble_lightning.run_folder import RunFolder
from nimble_lightning.runs.heartbeat import read


@dataclass(frozen=True)
class RunProgress:
    """Where a run is.

    Attributes:
        attempt: Which start this is, from 1; 0 before the first.
        step: The newest of its first rank; None while it starts.
        cause: How the last attempt that ended did; empty where there is none.
        reason: The same for people, in more words.
        between: Whether no attempt is going on.
    """

    attempt: int = 0
    step: int | None = None
    cause: str = ""
    reason: str = ""
    between: bool = True

    @property
    def text(self) -> str:
        """In a few words: `attempt 2 (hang), step 12`."""
        if self.between and self.attempt:
            return f"attempt {self.attempt} ended ({self.cause})"
        how_far = f"step {self.step}" if self.step else "starting"
        return f"attempt {self.attempt} ({self.cause}), {how_far}" if self.cause else how_far


def standing(folder: Path) -> RunProgress:
    """Where the run in a folder is now."""
    place = RunFolder(folder)
    attempts = read_json(place.run).get("attempts") or []
    if not attempts:
        return RunProgress()
    number, between = len(attempts), "end" in attempts[-1]
    ended = attempts[-1 if between else -2] if between or number > 1 else {}
    beat = read(place.heartbeat(number, 0))
    # One without an end had no supervisor left to write it.
    cause = str(ended.get("cause", Cause.KILLED)) if ended else ""
    return RunProgress(number, beat.step if beat else None, cause, str(ended.get("reason") or cause), between)
