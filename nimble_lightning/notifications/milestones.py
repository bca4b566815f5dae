"""When a run has come far enough to be worth a word: every so many per cent, epochs or minutes."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from nimble_lightning.errors import RequestError
from nimble_lightning.ops.durations import in_seconds
from nimble_lightning.terminal.progress_line import duration

_PER_CENT = re.compile(r"(\d+(?:\.\d+)?)\s*%")
_EPOCHS = re.compile(r"(\d+)\s*epochs?")


@dataclass
class Milestones:
    """Steps through the milestones of one fit.

    Attributes:
        percent: Of the steps of the fit; 0 for none.
        epochs: Between two; 0 for none.
        seconds: Between two; infinity for none.
    """

    percent: float = 0.0
    epochs: int = 0
    seconds: float = math.inf
    _passed: int = 0
    _begun: float = 0.0
    next_time: float = math.inf

    @classmethod
    def every(cls, text: str | None) -> Milestones:
        """From `25%`, `5 epochs` or `30m`; None: never.

        Raises:
            RequestError: It is none of these.
        """
        if text is None:
            return cls()
        if match := _PER_CENT.fullmatch(str(text).strip()):
            percent = float(match[1])
            if not 0 < percent <= 100:
                raise RequestError(f"milestone={text!r}: expected more than 0 % and at most 100 %.")
            return cls(percent=percent)
        if match := _EPOCHS.fullmatch(str(text).strip()):
            if not int(match[1]):
                raise RequestError(f"milestone={text!r}: expected at least 1 epoch.")
            return cls(epochs=int(match[1]))
        try:
            return cls(seconds=in_seconds(text))
        except RequestError:
            raise RequestError(
                f"milestone={text!r} is no distance. Write 25%, 5 epochs, 30m, or null for none."
            ) from None

    def begin(self, step: int, total: int | None, now: float) -> None:
        """A fit begins, or goes on from `step`: what lies behind is not told again."""
        self._passed = self._parts(step, total)
        self._begun, self.next_time = now, now + self.seconds

    def steps_to_next(self, step: int, total: int | None) -> float:
        """How many steps there are to the next milestone that is counted in steps."""
        if not self.percent or not total:
            return math.inf
        return max(1, math.ceil((self._parts(step, total) + 1) * self.percent / 100 * total) - step)

    def at_step(self, step: int, total: int | None, now: float) -> str | None:
        """What has been reached since the last call, if anything has."""
        parts = self._parts(step, total)
        if parts > self._passed and (parts * self.percent < 100):
            self._passed = parts
            return f"{parts * self.percent:g} %"
        if now >= self.next_time:
            self.next_time = now + self.seconds
            return f"after {duration(now - self._begun)}"
        return None

    def at_epoch_end(self, done: int, epochs: int | None) -> str | None:
        """The same, when `done` epochs are done; the last one is the end, which is told anyway."""
        if not self.epochs or done % self.epochs or done == epochs:
            return None
        return f"epoch {done} of {epochs}" if epochs else f"epoch {done}"

    def _parts(self, step: int, total: int | None) -> int:
        return int(step / total * 100 / self.percent + 1e-9) if self.percent and total else 0
