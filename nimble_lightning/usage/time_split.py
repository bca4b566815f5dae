"""How the time of an attempt divides, from what its processes told and how it ended."""

from __future__ import annotations

from collections.abc import Sequence

from nimble_lightning.ops.end_causes import Cause
from nimble_lightning.usage.attempt_times import Span
from nimble_lightning.usage.clock import DATA, OTHER, START, STATES, STEP
from nimble_lightning.usage.rank_record import RankRecord

RETRY, HANG, LOST = "retry", "hang", "lost"
CAUSES = ("start", "data", "step", "validation", "checkpoint", "retry", "hang", "lost", "other")


def split(span: Span, found: Sequence[RankRecord], useful: int) -> dict[str, float]:
    """The seconds of an attempt by cause, the mean over its ranks; they add up to its length.

    Args:
        span: When it was.
        found: What its ranks told.
        useful: Its steps that were not done again.
    """
    if not found:
        # It ended before any of its processes had anything to tell.
        return {**dict.fromkeys(CAUSES, 0.0), (HANG if span.cause == Cause.HANG else START): span.length}
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
        seconds[HANG] = stuck + max(0.0, rest)
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
            seconds[LOST] += seconds[cause] * share
            seconds[cause] *= 1 - share
    return seconds
