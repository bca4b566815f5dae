"""Whether a stretch of the run, trained once more, gives the same bits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nimble_lightning.errors import RequestError
from nimble_lightning.validators.verdict import Verdict

if TYPE_CHECKING:
    from nimble_lightning.validators.evaluated_run import Run


class Replay:
    """Passes when random stretches between two commits of the run can be trained again to the same bits.

    That is done by processes of its own once the run has ended, so it needs a run that is supervised, and one
    that commits more than once: it does at the end of every epoch, or as `callbacks.auto_retry` says.

    Args:
        stretches: How many.
    """

    def __init__(self, stretches: int = 1) -> None:
        if stretches < 1:
            raise RequestError(f"validator.stretches={stretches}: expected at least 1.")
        self.stretches = stretches

    def judge(self, run: Run) -> Verdict:
        return Verdict(None, "not replayed: nothing supervises this run")
