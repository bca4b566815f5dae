"""The callback that ends a run at a given step, with everything that is to be compared left behind."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning as L
import torch
from typing_extensions import override

from nimble_lightning.ops.run_files import write_json
from nimble_lightning.worker import provenance

CHECKPOINT = "replayed.ckpt"
FACTS = "replayed.json"

_ENDED = 1


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


class SegmentEnd(L.Callback):
    """Trains up to a step as the run did, saves, and ends the process there.

    Args:
        folder: Where the checkpoint and the facts go.
        until: The step.
        threads: How many torch uses; the bits of a CPU depend on it.
    """

    def __init__(self, folder: str, until: int, threads: int) -> None:
        self._folder = Path(folder)
        self._until = until
        self._threads = threads
        self._made: dict[str, Any] = {}

    @override
    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        torch.set_num_threads(self._threads)

    @override
    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        # Optimizers are made by now, and the checkpoint is not yet restored into them.
        self._made = self._settings(trainer)

    @override
    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.is_global_zero:
            restored = self._settings(trainer)
            facts = {
                "changed": changed(self._made, restored) if trainer.ckpt_path else [],
                "data": provenance.fingerprints(trainer, pl_module),
                "hardware": provenance.hardware(trainer),
            }
            write_json(self._folder / FACTS, facts)

    @override
    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if trainer.global_step >= self._until:
            self._end(trainer)

    @override
    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._end(trainer)

    def _end(self, trainer: L.Trainer) -> None:
        trainer.save_checkpoint(self._folder / CHECKPOINT)
        # Not 0: torchelastic waits for what a process that ended well returns.
        raise SystemExit(_ENDED)

    @staticmethod
    def _settings(trainer: L.Trainer) -> dict[str, Any]:
        return snapshot(trainer.optimizers, [c.scheduler for c in trainer.lr_scheduler_configs])


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
