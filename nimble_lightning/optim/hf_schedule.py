"""The learning-rate schedules of transformers, by the names that its `lr_scheduler_type` has."""

from __future__ import annotations

import inspect
import math
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from nimble_lightning.errors import RequestError
from nimble_lightning.ops.similar_names import unknown
from nimble_lightning.optim.schedules import Amount, steps_of

# What a run fills in, or this module does.
_FILLED_IN = ("optimizer", "num_warmup_steps", "num_training_steps", "last_epoch")


def hf(
    optimizer: Optimizer,
    *,
    total_steps: int | None = None,
    name: str = "linear",
    warmup: Amount = 0,
    **specific: Any,
) -> LRScheduler:
    """What `transformers.get_scheduler` makes of a name.

    Args:
        optimizer: Whose rate it sets.
        total_steps: Optimizer steps in the whole run.
        name: As `lr_scheduler_type` has it.
        warmup: Steps, or a share of the run, which transformers rounds up.
        **specific: What that schedule takes besides, such as `num_cycles`.
    """
    try:
        from transformers.optimization import TYPE_TO_SCHEDULER_FUNCTION, get_scheduler
    except ImportError:
        raise RequestError("schedule=hf needs transformers: pip install transformers") from None
    known: dict[str, Any] = {kind.value: make for kind, make in TYPE_TO_SCHEDULER_FUNCTION.items()}
    if name not in known:
        raise RequestError(f"schedule.name={name}: {unknown('schedule', name, list(known))}")
    taken = inspect.signature(known[name]).parameters
    for argument in specific:
        if argument not in taken or argument in _FILLED_IN:
            own = [other for other in taken if other not in _FILLED_IN]
            raise RequestError(f"schedule.{argument}: {name} takes {', '.join(own) or 'nothing besides'}.")
    if total_steps is None and taken.get("num_training_steps") is not None and name != "warmup_stable_decay":
        raise RequestError(
            f"schedule.name={name} ends with the run, and this run has no known end. "
            "Type lightning.max_steps=N, or schedule.name=constant_with_warmup."
        )
    rise = steps_of("warmup", warmup, total_steps)
    if isinstance(warmup, float) and total_steps:
        rise = math.ceil(warmup * total_steps)
    try:
        made: LRScheduler = get_scheduler(name, optimizer, rise, total_steps, specific or None)
    except (TypeError, ValueError) as error:
        raise RequestError(f"schedule.name={name}: {error}") from error
    return made
