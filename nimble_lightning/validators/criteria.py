"""What a run has to reach, as text: `accuracy >= 0.95`, `val_loss < best_of(baseline) * 0.98`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from nimble_lightning.errors import RequestError
from nimble_lightning.ops.similar_names import unknown
from nimble_lightning.validators.formula import BestOf, Figures, best_in, metrics_in
from nimble_lightning.validators.parser import parse
from nimble_lightning.validators.verdict import Check

# In one sentence.
_TOLD = 3
# A limit that is worked out does not stand in the text.
_PLAIN_LIMIT = re.compile(r"[^<>=]*[<>=!]+\s*[\d.eE+\-]+\s*%?")


class Criteria:
    """One or several criteria, all of which have to hold.

    Args:
        texts: A text, or a list of them; how they are written, the module that reads them tells.

    Example::

        passed, checks = Criteria("accuracy >= 95 %").judge({"accuracy": 0.97, "val_loss": 0.1})
    """

    def __init__(self, texts: str | Iterable[str]) -> None:
        self._conditions = [parse(text) for text in ([texts] if isinstance(texts, str) else texts)]
        self.metrics = tuple(dict.fromkeys(n for c in self._conditions for n in metrics_in(c)))
        self.references = tuple(
            dict.fromkeys(name for c in self._conditions for best in best_in(c) for name in best.references)
        )

    def __len__(self) -> int:
        return len(self._conditions)

    def judge(self, metrics: Mapping[str, float], best_of: BestOf | None = None) -> tuple[bool, list[Check]]:
        """Whether all hold, and every comparison with its two sides.

        Args:
            metrics: Final figures by name. What is missing, and what is no number, holds nothing.
            best_of: From a reference and a metric to what the reference reaches in it.
        """
        if self.references and best_of is None:
            raise RequestError(f"Nothing here knows {self.references[0]}; best_of(...) cannot be used.")
        checks: list[Check] = []
        figures = Figures(metrics, best_of or (lambda *_: float("nan")))
        held = [figures.holds(condition, checks) for condition in self._conditions]
        return all(held), checks

    def sentence(self, passed: bool, checks: list[Check], metrics: Mapping[str, float]) -> str:
        """What came of them, in one sentence."""
        missing = [unknown("metric", name, metrics) for name in self.metrics if name not in metrics]
        if missing and not passed:
            return f"cannot be judged: {missing[0]}"
        # Where one of several alternatives is enough, those that do not hold are no news.
        telling = [check for check in checks if check.passed == passed]
        told = ", ".join(f"{check.text} ({_figures(check)})" for check in telling[:_TOLD])
        told += f" and {len(telling) - _TOLD} more" if len(telling) > _TOLD else ""
        return f"{'met' if passed else 'missed'} {told}"


def _figures(check: Check) -> str:
    value = f"{check.value:.4g}"
    return value if _PLAIN_LIMIT.fullmatch(check.text) else f"{value} against {check.limit:.4g}"
