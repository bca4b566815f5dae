"""Learning-rate schedules as factors of the peak rate: what share of it a given step uses.

The shapes are module-level functions bound with `functools.partial`: they pickle, and torch keeps nothing of
them in `state_dict()`. So a checkpoint holds only the position, and an extended run follows its longer curve.
"""

from __future__ import annotations

import logging
import math
from functools import partial
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, ReduceLROnPlateau
from typing_extensions import override

from nimble_lightning.errors import RequestError

log = logging.getLogger(__name__)

Amount = int | float
"""Steps as a whole number, or a share of the run as a fraction below 1."""


def constant(optimizer: Optimizer, *, total_steps: int | None = None, warmup: Amount = 0) -> LambdaLR:
    """The peak rate throughout, after the warm-up."""
    rise = steps_of("warmup", warmup, total_steps)
    _say_what_does_not_fit(total_steps, rise)
    return LambdaLR(optimizer, partial(_ramp, warmup=rise))


def cosine(
    optimizer: Optimizer, *, total_steps: int | None = None, warmup: Amount = 0, min_ratio: float = 0.0
) -> LambdaLR:
    """Half a cosine from the peak down to `min_ratio` of it at the end of the run."""
    total = _needed("cosine", total_steps)
    rise, low = steps_of("warmup", warmup, total), _ratio("min_ratio", min_ratio)
    _say_what_does_not_fit(total, rise)
    return LambdaLR(optimizer, partial(_cosine, warmup=rise, total=total, low=low))


def linear(
    optimizer: Optimizer, *, total_steps: int | None = None, warmup: Amount = 0, min_ratio: float = 0.0
) -> LambdaLR:
    """A straight line from the peak down to `min_ratio` of it at the end of the run."""
    total = _needed("linear", total_steps)
    rise, low = steps_of("warmup", warmup, total), _ratio("min_ratio", min_ratio)
    _say_what_does_not_fit(total, rise)
    return LambdaLR(optimizer, partial(_linear, warmup=rise, start=rise, total=total, low=low))


def wsd(
    optimizer: Optimizer,
    *,
    total_steps: int | None = None,
    warmup: Amount = 0,
    decay: Amount = 0.2,
    min_ratio: float = 0.0,
) -> LambdaLR:
    """Warm-up, a stable stretch at the peak, then a straight line down over the last `decay` steps."""
    total = _needed("wsd", total_steps)
    rise, low = steps_of("warmup", warmup, total), _ratio("min_ratio", min_ratio)
    fall = steps_of("decay", decay, total)
    _say_what_does_not_fit(total, rise, fall)
    start = max(rise, total - fall)
    return LambdaLR(optimizer, partial(_linear, warmup=rise, start=start, total=total, low=low))


def onecycle(
    optimizer: Optimizer,
    *,
    total_steps: int | None = None,
    warmup: Amount = 0.3,
    div_factor: float = 25.0,
    final_div_factor: float = 1e4,
) -> LambdaLR:
    """The rates of `torch.optim.lr_scheduler.OneCycleLR`, with `lr` as the peak; momentum is left alone."""
    total = _needed("onecycle", total_steps)
    if div_factor < 1 or final_div_factor < 1:
        raise RequestError(
            f"schedule: div_factor={div_factor!r} and final_div_factor={final_div_factor!r} divide the rate; "
            "expected at least 1."
        )
    rise, first = steps_of("warmup", warmup, total), 1 / div_factor
    _say_what_does_not_fit(total, rise)
    shape = partial(_onecycle, warmup=rise, total=total, first=first, last=first / final_div_factor)
    return LambdaLR(optimizer, shape)


def plateau(
    optimizer: Optimizer,
    *,
    total_steps: int | None = None,
    warmup: Amount = 0,
    mode: str = "min",
    factor: float = 0.1,
    patience: int = 10,
    threshold: float = 1e-4,
    min_ratio: float = 0.0,
) -> ReduceLROnPlateau:
    """Cut the rate by `factor` when the monitored metric has not improved for `patience` evaluations."""
    if mode not in ("min", "max"):
        raise RequestError(f"schedule.mode={mode!r} is unknown. Type schedule.mode=min or schedule.mode=max.")
    rise = steps_of("warmup", warmup, total_steps)
    _say_what_does_not_fit(total_steps, rise)
    floor = [_ratio("min_ratio", min_ratio) * float(group["lr"]) for group in optimizer.param_groups]
    return _WarmupPlateau(
        optimizer, rise, mode=mode, factor=factor, patience=patience, threshold=threshold, min_lr=floor
    )


def _say_what_does_not_fit(total: int | None, rise: int, fall: int = 0) -> None:
    """A schedule longer than the run is cut off, which may be meant, as in a short first try."""
    if total is not None and rise >= total:
        log.warning(
            "the schedule warms up for %d steps and the run has %d: the rate stays below its peak, give a "
            "smaller schedule.warmup",
            rise,
            total,
        )
    elif total is not None and rise + fall > total:
        log.warning(
            "%d steps of warm-up and %d of decay do not fit into %d: the decay takes the %d after the "
            "warm-up, give a smaller schedule.decay",
            rise,
            fall,
            total,
            total - rise,
        )


def _cosine(step: int, *, warmup: int, total: int, low: float) -> float:
    if step < warmup:
        return _ramp(step, warmup)
    return low + (1 - low) * 0.5 * (1 + math.cos(math.pi * _done(step, warmup, total)))


def _linear(step: int, *, warmup: int, start: int, total: int, low: float) -> float:
    if step < warmup:
        return _ramp(step, warmup)
    return 1 - (1 - low) * _done(step, start, total)


def _onecycle(step: int, *, warmup: int, total: int, first: float, last: float) -> float:
    # The peak falls on step `warmup - 1` and the lowest rate on the last step, as in torch.
    top = max(0, warmup - 1)
    if step < top:
        return 1 + (first - 1) * 0.5 * (1 + math.cos(math.pi * step / top))
    return last + (1 - last) * 0.5 * (1 + math.cos(math.pi * _done(step, top, max(top + 1, total - 1))))


def _done(step: int, start: int, end: int) -> float:
    """How much of a stretch is behind us; all of it once past its end, so that an extra step is harmless."""
    if step >= end:
        return 1.0
    return (step - start) / (end - start) if step > start else 0.0


def _needed(name: str, total_steps: int | None) -> int:
    if total_steps is None:
        raise RequestError(
            f"schedule={name} ends with the run, and this run has no known end. "
            "Type lightning.max_steps=N, or schedule=constant."
        )
    return total_steps


def _ratio(name: str, value: float) -> float:
    if not 0 <= value <= 1:
        raise RequestError(f"schedule.{name}={value!r}: expected a share of the peak rate between 0 and 1.")
    return value


def _ramp(step: int, warmup: int) -> float:
    """Rise in a straight line to 1 at step `warmup`; the first step is above zero, or it would be wasted."""
    return (step + 1) / (warmup + 1) if step < warmup else 1.0


def steps_of(name: str, amount: int | float, total_steps: int | None) -> int:
    """Read `amount` as steps (a whole number) or as a share of the run (a fraction below 1)."""
    if isinstance(amount, int) and not isinstance(amount, bool) and amount >= 0:
        return amount
    if not isinstance(amount, float) or not 0 <= amount < 1:
        raise RequestError(
            f"schedule.{name}={amount!r} is neither a number of steps nor a fraction below 1 of the run. "
            f"Type for example schedule.{name}=500 or schedule.{name}=0.05."
        )
    if total_steps is None and amount:
        raise RequestError(
            f"schedule.{name}={amount!r} is a share of the run, and this run has no known end. "
            f"Type lightning.max_steps=N, or schedule.{name} as a number of steps."
        )
    return round(amount * (total_steps or 0))


class _WarmupPlateau(ReduceLROnPlateau):
    """`ReduceLROnPlateau` that raises the rate over the first steps.

    It is stepped on evaluations only, so it counts training steps by listening to the optimizer.
    Evaluations during the warm-up are not judged: the rate is not yet the one that could be too high.

    Args:
        optimizer: Whose rate it sets.
        warmup: Steps until the peak, which is the optimizer's rate when this is made; 0 starts there.
        **plateau: As in `ReduceLROnPlateau`.
    """

    def __init__(self, optimizer: Optimizer, warmup: int, **plateau: Any) -> None:
        super().__init__(optimizer, **plateau)
        self.warmup = warmup
        self.steps = 0
        self.peaks = [float(group["lr"]) for group in optimizer.param_groups]
        if warmup:
            self._apply()
            optimizer.register_step_post_hook(self._after_step)

    @override
    def step(self, metrics: Any, epoch: Any = None) -> None:  # type: ignore[override]
        if self.steps >= self.warmup:
            super().step(metrics, epoch)

    def _after_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        if self.steps < self.warmup:
            self.steps += 1
            self._apply()

    def _apply(self) -> None:
        share = _ramp(self.steps, self.warmup)
        for group, peak in zip(self.optimizer.param_groups, self.peaks, strict=True):
            group["lr"] = peak * share
        self._last_lr = [group["lr"] for group in self.optimizer.param_groups]
