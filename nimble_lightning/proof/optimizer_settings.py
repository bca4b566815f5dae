"""Whether a checkpoint was trained with the settings its run claims.

Optimizers and schedules are restored with the settings they had, so a stretch trained again from a dishonest
checkpoint would repeat them; they are held against what the claimed configuration makes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch

# What a schedule moves in an optimizer; where one does, what it moves from says the rest.
_MOVED = ("lr", "momentum", "betas", "max_lr", "min_lr", "max_momentum", "base_momentum")
# What moves in a schedule itself.
_COUNTERS = {
    "last_epoch",
    "_step_count",
    "_last_lr",
    "_get_lr_called_within_step",
    "_is_initial",
    "best",
    "num_bad_epochs",
    "cooldown_counter",
    "steps",
}
_CYCLES = ("cycle_momentum", "use_beta1")


def snapshot(optimizers: Sequence[Any], schedulers: Sequence[Any]) -> dict[str, Any]:
    """The settings of optimizers and schedules as they are now."""
    return {
        "optimizers": [[dict(group) for group in o.state_dict()["param_groups"]] for o in optimizers],
        "schedulers": [dict(s.state_dict()) for s in schedulers],
    }


def changed(made: Mapping[str, Any], restored: Mapping[str, Any]) -> list[str]:
    """Where a checkpoint's settings are not those that the configuration makes: one sentence each.

    Args:
        made: A snapshot before the checkpoint was restored.
        restored: One after.
    """
    schedules = made["schedulers"]
    left_out = {"params", *(_MOVED[:1] if schedules else ())}
    if any(name in state for state in schedules for name in _CYCLES):
        left_out |= set(_MOVED)
    found = []
    groups = zip(_flat(made["optimizers"]), _flat(restored["optimizers"]), strict=False)
    for number, (one, other) in enumerate(groups):
        found += [f"group {number} of the optimizer: {text}" for text in _differences(one, other, left_out)]
    for number, (one, other) in enumerate(zip(schedules, restored["schedulers"], strict=False)):
        found += [f"schedule {number}: {text}" for text in _differences(one, other, _COUNTERS)]
    return found


def _flat(optimizers: Sequence[Sequence[Any]]) -> list[Any]:
    return [group for groups in optimizers for group in groups]


def _differences(one: Mapping[str, Any], other: Mapping[str, Any], left_out: set[str]) -> Iterator[str]:
    for name in one.keys() & other.keys() - left_out:
        mine, its = _plain(one[name]), _plain(other[name])
        if isinstance(mine, Mapping) and isinstance(its, Mapping):
            yield from _differences(mine, its, left_out)
        elif isinstance(mine, list) and isinstance(its, list) and len(mine) == len(its):
            for index, (a, b) in enumerate(zip(mine, its, strict=True)):
                yield from _differences({f"{name}[{index}]": a}, {f"{name}[{index}]": b}, left_out)
        elif mine != its and isinstance(mine, float | int | bool | str):
            yield f"{name} is {its} in the run, {mine} by its configuration"


def _plain(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.tolist()
    return list(value) if isinstance(value, tuple) else value
