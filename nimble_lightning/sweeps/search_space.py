"""The values a parameter may have when somebody searches for better ones."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from nimble_lightning.errors import RequestError


@dataclass(frozen=True)
class Space:
    """A range or a list of choices.

    Attributes:
        low: The smallest value.
        high: The largest.
        log: Whether its order of magnitude counts rather than its size.
        step: The distance of values.
        choices: The values there are, instead of a range.
        when: Other keys and the values they must have for this one to matter.
        whole: Whether values are whole numbers.
    """

    low: float | None = None
    high: float | None = None
    log: bool = False
    step: float | None = None
    choices: tuple[Any, ...] | None = None
    when: Mapping[str, Any] = field(default_factory=dict)
    whole: bool = False

    @property
    def text(self) -> str:
        """For people: `search 1e-05 to 0.1 (log)`."""
        if self.choices is not None:
            return f"search {', '.join(map(str, self.choices))}"
        return f"search {self.low:g} to {self.high:g}{' (log)' if self.log else ''}"

    @property
    def grid(self) -> list[Any]:
        """All its values, if they can be counted."""
        if self.choices is not None:
            return list(self.choices)
        step = self.step or (1 if self.whole else None)
        if step is None or self.low is None or self.high is None:
            return []
        kind = int if self.whole else float
        return [kind(self.low + i * step) for i in range(int((self.high - self.low) / step + 1e-9) + 1)]

    def suggest(self, trial: Any, name: str) -> Any:
        """The value an Optuna trial proposes."""
        if self.choices is not None:
            return trial.suggest_categorical(name, self.choices)
        if self.whole:
            step = {} if self.step is None else {"step": int(self.step)}
            return trial.suggest_int(name, int(self.low or 0), int(self.high or 0), log=self.log, **step)
        return trial.suggest_float(name, self.low, self.high, log=self.log, step=self.step)


def make_space(name: str, given: Mapping[str, Any]) -> Space:
    """A space from its parts.

    Raises:
        RequestError: They make none.
    """
    known = [item.name for item in fields(Space)]
    unknown = [key for key in given if key not in known]
    if unknown:
        raise RequestError(f"The space of {name} has no {unknown[0]}; there are {', '.join(known)}.")
    values = {key: value for key, value in given.items() if value is not None}
    if "choices" in values:
        space = Space(choices=tuple(values["choices"]), when=dict(values.get("when", {})))
        if not space.choices or set(values) - {"choices", "when", "whole"}:
            raise RequestError(f"The space of {name}: expected choices, at least one, or low and high.")
        return space
    space = Space(**values)
    if space.low is None or space.high is None or not space.low < space.high:
        raise RequestError(f"The space of {name} needs low and high, low the smaller one; or choices.")
    if space.log and (space.low <= 0 or space.step is not None):
        raise RequestError(f"The space of {name}: with log, low has to be above 0, and there is no step.")
    return space


def read_space(name: str, written: Mapping[str, ast.expr], annotation: ast.expr | None) -> Space:
    """A space as `param(...)` has it in a file that is not run.

    Raises:
        RequestError: It is not written out, or makes no sense.
    """
    try:
        given = {key: ast.literal_eval(value) for key, value in written.items()}
    except ValueError:
        raise RequestError(
            f"param() of {name}: limits have to be written out as numbers; the file is only read here."
        ) from None
    whole = isinstance(annotation, ast.Name) and annotation.id == "int"
    return make_space(name, {**given, "whole": whole})
