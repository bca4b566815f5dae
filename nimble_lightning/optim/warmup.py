"""The rise at the start of every schedule."""

from __future__ import annotations

from nimble_lightning.errors import RequestError


def ramp(step: int, warmup: int) -> float:
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
