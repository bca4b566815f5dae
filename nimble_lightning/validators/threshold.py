"""Criteria written beforehand, held against the final figures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from nimble_lightning.errors import RequestError
from nimble_lightning.validators.criteria import Criteria
from nimble_lightning.validators.verdict import Verdict

if TYPE_CHECKING:
    from nimble_lightning.validators.evaluated_run import Run
    from nimble_lightning.validators.references import References


class Threshold:
    """Passes when all criteria hold.

    Args:
        criteria: Such as `accuracy >= 0.95` or `val_loss < best_of(baseline) * 0.98`. In `best_of(...)` stand
            what `Baseline` takes as references; `baseline` is the one it has by itself.

    Example::

        validator=threshold 'validator.criteria=["accuracy >= 0.95", "val_loss < 0.2"]'
    """

    def __init__(self, criteria: str | Sequence[str] = ()) -> None:
        self.criteria = Criteria(criteria)
        if not len(self.criteria):
            raise RequestError(
                "validator=threshold has no criteria. Give validator.criteria='[\"accuracy >= 0.95\"]'."
            )
        self.metrics = self.criteria.metrics
        self._references: References | None = None

    def begin(self, run: Run) -> None:
        if self.criteria.references:
            from nimble_lightning.validators.references import References

            self._references = References(self.criteria.references)
            self._references.begin(run)

    def judge(self, run: Run) -> Verdict:
        if self.criteria.references and self._references is None:
            self.begin(run)

        def best_of(reference: str, metric: str) -> float:
            measured = self._references and self._references.measured(reference, run)
            return measured.metrics.get(metric, math.nan) if measured else math.nan

        passed, checks = self.criteria.judge(run.metrics, best_of)
        return Verdict(passed, self.criteria.sentence(passed, checks, run.metrics), tuple(checks))
