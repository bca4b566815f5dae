"""What a run is judged by: which figure, which way is better, and how that is known.

Best checkpoint, early stopping, plateau, pruning, search, sweep, page and baseline all ask here.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from nimble_lightning.errors import RequestError
from nimble_lightning.ops.metric_names import Mode, direction, is_validation_loss
from nimble_lightning.ops.similar_names import unknown

_UNKNOWN = "not known to be better lower or higher, type mode=min or mode=max"
_NOTHING: Mapping[str, bool] = {}
_BETTER: dict[Mode, str] = {"min": "lower", "max": "higher"}
# As searches and sweep.json call the modes.
WAYS: dict[Mode, str] = {"min": "minimize", "max": "maximize"}
MODES: dict[str, Mode] = {"minimize": "min", "maximize": "max"}


@dataclass(frozen=True)
class Objective:
    """A figure that is to get better.

    Attributes:
        metric: Its name.
        mode: Which way is better; None where nobody knows.
        reason: How that is known.
    """

    metric: str
    mode: Mode | None
    reason: str

    def __str__(self) -> str:
        if self.mode is None:
            return f"{self.metric} ({self.reason})"
        return f"{self.metric}, {_BETTER[self.mode]} is better ({self.reason})"

    @property
    def required_mode(self) -> Mode:
        """Which way is better, for those who cannot do without."""
        if self.mode is None:
            raise RequestError(
                f"Whether {self.metric} is better lower or higher is not known\nAdd mode=min or mode=max"
            )
        return self.mode

    def rank(self, value: float) -> float | None:
        """The lower the better; None of what is no finite number, which is never best."""
        if not math.isfinite(value):
            return None
        return value if self.required_mode == "min" else -value

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def choose(
    names: Iterable[str],
    monitor: str | None = None,
    mode: Mode | None = None,
    higher_is_better: Mapping[str, bool] = _NOTHING,
) -> Objective | None:
    """What counts among the figures of an evaluation; None where there are none.

    The `monitor` if there is one, else the validation loss, else the first figure. Which way is better the
    `mode` says, else the torchmetrics object, else the words of the name.

    Args:
        names: Of the figures, in the order in which they were evaluated.
        monitor: The one that was asked for.
        mode: The way that was asked for. Without a monitor it chooses among the figures it fits.
        higher_is_better: What torchmetrics objects say of theirs.

    Raises:
        RequestError: There is no figure of the asked name, or none for which the asked mode makes sense.
    """
    known = list(names)
    if monitor is not None:
        if monitor not in known:
            raise RequestError(f"monitor={monitor}: {unknown('metric', monitor, known)}")
        return _judged(monitor, mode, higher_is_better)
    known.sort(key=lambda name: (name != "val_loss", not is_validation_loss(name)))
    if mode is None or not known:
        return _judged(known[0], mode, higher_is_better) if known else None
    fitting = [name for name in known if _judged(name, None, higher_is_better).mode in (None, mode)]
    if not fitting:
        raise RequestError(
            f"mode={mode}: there is no metric that is better {_BETTER[mode]}, among {', '.join(known)}\n"
            f"If one of them is meant, say which: monitor={known[0]} mode={mode}"
        )
    return _judged(fitting[0], mode, higher_is_better)


def from_json(given: Any) -> Objective | None:
    """What `to_json` gave, out of the record of a run; None where it is not there."""
    if not isinstance(given, Mapping) or not given.get("metric"):
        return None
    mode = given.get("mode")
    return Objective(
        str(given["metric"]), mode if mode in ("min", "max") else None, str(given.get("reason") or "")
    )


def _judged(metric: str, mode: Mode | None, higher_is_better: Mapping[str, bool]) -> Objective:
    if mode is not None:
        return Objective(metric, mode, "as asked")
    if (higher := higher_is_better.get(metric)) is not None:
        return Objective(metric, "max" if higher else "min", "as torchmetrics says")
    named = direction(metric)
    return Objective(metric, named, "by its name" if named else _UNKNOWN)
