"""How far a run is, how fast it goes and when it ends: numbers to one line of text."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

_WINDOW_SECONDS = 60.0


class Rate:
    """Steps a second over about the last minute, evaluation included: what an honest ETA needs."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()

    def add(self, now: float, step: int) -> None:
        """Note that `step` steps were done at the time `now`."""
        self._seen.append((now, step))
        while len(self._seen) > 2 and now - self._seen[1][0] >= _WINDOW_SECONDS:
            self._seen.popleft()

    def per_second(self) -> float | None:
        """The rate, or None before there are two different moments to compare."""
        if len(self._seen) < 2:
            return None
        (start, first), (end, last) = self._seen[0], self._seen[-1]
        return (last - first) / (end - start) if end > start and last > first else None


@dataclass(frozen=True)
class ProgressPosition:
    """Where a stage is: `total` is None for a loader that never ends, `note` what else there is to say."""

    step: int
    total: int | None
    stage: str = "train"
    epoch: int | None = None
    epochs: int | None = None
    steps_per_second: float | None = None
    samples_per_step: int | None = None
    tokens_per_step: float | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    note: str = ""

    @property
    def fraction(self) -> float | None:
        """How much of the stage is done, or None when it has no end."""
        return min(self.step / self.total, 1.0) if self.total else None


def line(position: ProgressPosition, width: int = 80) -> str:
    """One line of at most `width` columns: the note and the later metrics are left out first."""
    head = "  ".join(_head(position))
    tail = "".join(f"  {part}" for part in _tail(position))
    shown = ""
    parts = [f"  {name} {value:.4g}" for name, value in position.metrics.items()]
    for part in [*parts, f"  {position.note}"] if position.note else parts:
        if len(head) + len(shown) + len(part) + len(tail) > width:
            break
        shown += part
    return (head + shown + tail)[:width]


def _head(at: ProgressPosition) -> list[str]:
    if at.stage != "train":
        name = at.stage
    elif at.epoch is None:
        name = ""
    else:
        name = f"epoch {at.epoch}/{at.epochs}" if at.epochs else f"epoch {at.epoch}"
    steps = f"step {at.step}" if at.total is None else f"step {at.step}/{at.total}"
    done = [] if at.fraction is None else [f"{at.fraction:.0%}".replace("%", " %")]
    return [part for part in (name, steps, *done) if part]


def _tail(at: ProgressPosition) -> list[str]:
    speed = at.steps_per_second
    if speed is None:
        return []
    if at.tokens_per_step is not None:
        pace = f"{speed * at.tokens_per_step:,.0f} tokens/s"
    elif at.samples_per_step is not None:
        pace = f"{speed * at.samples_per_step:.0f} samples/s"
    else:
        pace = f"{speed:.3g} steps/s"
    return [pace] if at.total is None else [pace, f"ETA {duration((at.total - at.step) / speed)}"]


def duration(seconds: float) -> str:
    """Seconds as `0:12`, `1:02:03` or `2d 3:04:05`."""
    minutes, second = divmod(max(round(seconds), 0), 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    clock = f"{hour}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"
    return f"{days}d {clock}" if days else clock
