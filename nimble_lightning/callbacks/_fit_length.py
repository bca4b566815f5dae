"""How long a fit is, in batches and in optimizer steps, while gradients may be accumulated."""

from __future__ import annotations

import math

import lightning as L


def batches_of_fit(trainer: L.Trainer) -> float:
    """Up to its end by `max_epochs` or `max_steps`, whichever comes first; infinity where that is unknown."""
    epochs, steps, an_epoch = _epochs(trainer), _most_steps(trainer), trainer.num_training_batches
    by_steps = steps * _batches_a_step(trainer)
    if math.isfinite(an_epoch) and math.isfinite(steps) and an_epoch:
        # The last step of an epoch may have fewer batches.
        whole, rest = divmod(steps, _steps_an_epoch(trainer))
        by_steps = whole * an_epoch + min(rest * _batches_a_step(trainer), an_epoch)
    return min(an_epoch * epochs, by_steps)


def steps_of_fit(trainer: L.Trainer) -> float:
    """The same in optimizer steps."""
    return min(_steps_an_epoch(trainer) * _epochs(trainer), _most_steps(trainer))


def _steps_an_epoch(trainer: L.Trainer) -> float:
    batches = trainer.num_training_batches
    return math.ceil(batches / _batches_a_step(trainer)) if math.isfinite(batches) else math.inf


def _batches_a_step(trainer: L.Trainer) -> int:
    """A module of ours accumulates by itself, for which it takes the argument out of the Trainer."""
    own: int | None = getattr(trainer.lightning_module, "batches_a_step", None)
    return own or trainer.accumulate_grad_batches


def _epochs(trainer: L.Trainer) -> float:
    return trainer.max_epochs if (trainer.max_epochs or -1) > 0 else math.inf  # type: ignore[return-value]


def _most_steps(trainer: L.Trainer) -> float:
    return trainer.max_steps if trainer.max_steps > 0 else math.inf
