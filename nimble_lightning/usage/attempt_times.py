"""When the attempts of a run began and ended, as seen from outside where possible, and what took the time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from nimble_lightning.ops.end_causes import Cause
from nimble_lightning.usage.clock import DATA, OTHER, START, STATES, STEP
from nimble_lightning.usage.rank_record import RankRecord, attempts

# The longest a supervisor waits before it starts a run again is a minute and a half. What is longer is
# somebody's pause: no device was held meanwhile.
LONGEST_WAIT = 120.0
_WANTED = [cause for cause in Cause if cause.is_wanted]


RETRY, _HANG, _LOST = "retry", "hang", "lost"
CAUSES = ("start", "data", "step", "validation", "checkpoint", "retry", "hang", "lost", "other")


@dataclass(frozen=True)
class Span:
    """One attempt.

    Attributes:
        number: From 1.
        start: In seconds since the epoch.
        end: The same; of an attempt that goes on, the last that was heard of it.
        cause: Why it ended, as far as somebody said so.
        first_step: Optimizer steps the run had done at its start.
        last_step: And at its end.
    """

    number: int
    start: float
    end: float
    cause: str = ""
    first_step: int = 0
    last_step: int = 0

    @property
    def length(self) -> float:
        return max(0.0, self.end - self.start)


def spans(recorded: Sequence[Mapping[str, Any]], found: Sequence[RankRecord]) -> list[Span]:
    """The attempts that a supervisor recorded; where nobody did, what the processes themselves tell."""
    by_attempt = attempts(found)
    if not recorded:
        return _joined([_told(number, by_attempt[number]) for number in sorted(by_attempt)])
    return _joined([_seen(entry, by_attempt.get(entry["number"], [])) for entry in recorded])


def waits(of_run: Sequence[Span]) -> float:
    """Seconds between attempts in which the run was only waiting to be started again."""
    pairs = zip(of_run, of_run[1:], strict=False)
    gaps = (later.start - earlier.end for earlier, later in pairs if earlier.cause not in _WANTED)
    return sum(gap for gap in gaps if 0 < gap <= LONGEST_WAIT)


def useful_steps(of_run: Sequence[Span]) -> dict[int, int]:
    """By attempt, the steps that no later one had to do again."""
    useful, kept = {}, float("inf")
    for span in reversed(of_run):
        useful[span.number] = int(max(0, min(span.last_step, kept) - span.first_step))
        kept = min(kept, span.first_step)
    return useful


def _joined(of_run: list[Span]) -> list[Span]:
    """Where an attempt could begin, the one before has been, though it was not heard to get there."""
    later = [span.first_step for span in of_run[1:]] + [0]
    return [
        replace(span, last_step=max(span.last_step, first)) for span, first in zip(of_run, later, strict=True)
    ]


def _told(number: int, found: Sequence[RankRecord]) -> Span:
    start = min(piece.started for piece in found)
    end = start + max(piece.length for piece in found)
    first, last = min(piece.first_step for piece in found), max(piece.last_step for piece in found)
    return Span(number, start, end, first_step=first, last_step=last)


def _seen(entry: Mapping[str, Any], found: Sequence[RankRecord]) -> Span:
    start = float(entry["start"])
    heard = max((piece.updated for piece in found), default=start)
    first = entry.get("first_step") or 0
    told = max((piece.last_step for piece in found), default=first)
    last = entry.get("last_step")
    return Span(
        number=entry["number"],
        start=start,
        end=float(entry.get("end") or max(start, heard)),
        cause=entry.get("cause") or "",
        first_step=first,
        last_step=max(told, first if last is None else last),
    )


def split(span: Span, found: Sequence[RankRecord], useful: int) -> dict[str, float]:
    """The seconds of an attempt by cause, the mean over its ranks; they add up to its length.

    Args:
        span: When it was.
        found: What its ranks told.
        useful: Its steps that were not done again.
    """
    if not found:
        # It ended before any of its processes had anything to tell.
        return {**dict.fromkeys(CAUSES, 0.0), (_HANG if span.cause == Cause.HANG else START): span.length}
    ranks = [_lost(_fitted(span, piece), span, useful) for piece in found]
    return {cause: sum(rank[cause] for rank in ranks) / len(ranks) for cause in CAUSES}


def _fitted(span: Span, piece: RankRecord) -> dict[str, float]:
    """One rank's seconds, stretched to the whole attempt: it began later and was last heard of earlier."""
    seconds = {cause: piece.seconds.get(cause, 0.0) for cause in CAUSES}
    # A process older than the attempt (a notebook) has told of time that is not the attempt's.
    seconds[START] = max(0.0, seconds[START] + piece.started - span.start)
    rest = span.length - sum(seconds.values())
    if span.cause == Cause.HANG and piece.state in STATES:
        stuck = min(piece.lasting, seconds[piece.state])
        seconds[piece.state] -= stuck
        seconds[_HANG] = stuck + max(0.0, rest)
    elif rest > 0:
        seconds[_goes_on(piece.state)] += rest
    if rest < 0 and (told := sum(seconds.values())):
        seconds = {cause: value * span.length / told for cause, value in seconds.items()}
    return seconds


def _goes_on(state: str) -> str:
    """What a process that was not heard of any more was most likely busy with."""
    if state in (STEP, DATA):
        return STEP
    return state if state in STATES else OTHER


def _lost(seconds: dict[str, float], span: Span, useful: int) -> dict[str, float]:
    """Steps that were done again were in vain, and so was the wait for their batches."""
    steps = span.last_step - span.first_step
    if steps > useful:
        share = (steps - useful) / steps
        for cause in (STEP, DATA):
            seconds[_LOST] += seconds[cause] * share
            seconds[cause] *= 1 - share
    return seconds
