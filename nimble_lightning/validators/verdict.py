"""The verdict on a run, and what gives one."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

from nimble_lightning.errors import TrainerError

if TYPE_CHECKING:
    from nimble_lightning.validators.evaluated_run import Run


@dataclass(frozen=True)
class Check:
    """One criterion: its two sides, and whether it holds."""

    text: str
    passed: bool
    value: float
    limit: float


@dataclass(frozen=True)
class Verdict:
    """What a validator says.

    Attributes:
        passed: None where nothing was asked.
        summary: One sentence for people.
        criteria: What was checked, one by one.
        facts: What else is known, by name: comparisons, sizes, metrics; plain JSON values.
        validator: The name of its class, which a run adds.
    """

    passed: bool | None
    summary: str
    criteria: tuple[Check, ...] = ()
    facts: dict[str, Any] = field(default_factory=dict)
    validator: str | None = None

    def to_json(self) -> dict[str, Any]:
        """As it lies in run.json; figures that are no numbers become null, which every reader knows."""
        content = {
            "passed": self.passed,
            "summary": self.summary,
            "validator": self.validator,
            "criteria": [asdict(check) for check in self.criteria],
            **self.facts,
        }
        return {name: _plain(value) for name, value in content.items()}

    @classmethod
    def from_json(cls, content: Mapping[str, Any] | None) -> Verdict:
        """The same again; of a run without one, that it was not judged."""
        if not content:
            return NOT_JUDGED
        facts = dict(content)
        passed, summary, validator = (facts.pop(name, None) for name in ("passed", "summary", "validator"))
        criteria = tuple(Check(**check) for check in facts.pop("criteria", ()))
        return cls(passed, summary or "", criteria, facts, validator)


# Of a run that did not come to its end.
NOT_JUDGED = Verdict(None, "not judged")


class Validator(Protocol):
    """Any class with this one method.

    Two more things are looked for, and need not be there: `metrics`, the names of metrics it is going to ask
    for, which are refused early where there are none of that name; and `begin(run)`, called before training.
    """

    def judge(self, run: Run) -> Verdict | bool | tuple[bool, str]:
        """Called once on every rank when the final figures are known, with the best weights loaded."""


class NoValidator:
    """Asks nothing of a run."""

    def judge(self, run: Run) -> Verdict:
        return Verdict(None, "none asked")


def as_verdict(answer: Any, validator: str) -> Verdict:
    """What `judge` returned as a verdict: one already, a yes or no, or that with a sentence."""
    if isinstance(answer, Verdict):
        return replace(answer, validator=validator)
    passed, *words = answer if isinstance(answer, tuple) and answer else (answer,)
    # Comparing numbers of numpy or torch gives their own kind of bool.
    kept = passed.item() if getattr(passed, "shape", None) == () else passed
    if not isinstance(kept, bool) or len(words) > 1:
        raise TrainerError(
            f"{validator}.judge returned {answer!r:.80}; "
            "expected a Verdict, True or False, or (bool, sentence)."
        )
    default = f"{validator} is satisfied" if kept else f"{validator} is not satisfied"
    return Verdict(kept, str(words[0]) if words else default, validator=validator)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
