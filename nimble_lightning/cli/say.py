"""What a command says at its end, once: of many processes that a launcher started, the first speaks."""

from __future__ import annotations

import sys

from nimble_lightning.errors import NimbleError, RequestError
from nimble_lightning.launch.external.detect import RankIsolated, Ranks, found
from nimble_lightning.ops.untrusted_text import cut, printable


def say(text: str) -> None:
    """How a job went."""
    if _speaks(_ranks()):
        print(printable(text), flush=True)


def complain(text: str, error: BaseException | None = None) -> None:
    """Why nothing came of it.

    Args:
        text: For people.
        error: What was raised before anything was started; all ranks end because of it.
    """
    ranks = _ranks()
    if _speaks(ranks) or isinstance(error, RankIsolated):
        print(cut(printable(text)), file=sys.stderr, flush=True)
    if ranks is None or error is None or isinstance(error, RankIsolated):
        return
    from nimble_lightning.launch.external.rank import refuse

    try:
        refuse(ranks, str(error))
    except NimbleError as alone:
        if not ranks.first:
            print(cut(printable(f"error: {alone}")), file=sys.stderr, flush=True)


def _speaks(ranks: Ranks | None) -> bool:
    return ranks is None or ranks.first


def _ranks() -> Ranks | None:
    try:
        return found()
    except RequestError:
        # Whoever cannot be counted has to speak for himself.
        return None
