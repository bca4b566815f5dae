"""The run's own evaluation, once more: of the trained model or of another, with every sample's value kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any

import lightning as L
import numpy as np
import torch
from torch import Tensor

from nimble_lightning.adapters import UserTrainer
from nimble_lightning.adapters.evaluation import figures, without_loggers
from nimble_lightning.ops.batches import size_of
from nimble_lightning.ranks import everyones, share_of_data
from nimble_lightning.validators.comparison import Values


@dataclass(frozen=True)
class Measured:
    """What an evaluation came to.

    Attributes:
        metrics: As the run's own: means over every sample, counted once, on all ranks together.
        samples: One value a sample, in the order of the data, where `evaluate` returns such values.
        shares: The metrics whose values say of each sample whether something holds.
    """

    metrics: Mapping[str, float]
    samples: Mapping[str, Values] = field(default_factory=dict)
    shares: frozenset[str] = frozenset()


class SampleRecorder:
    """Keeps what a method returns for each batch, one number a sample.

    Nothing is copied to the host before the end.
    """

    def __init__(self, method: Callable[[Any], Any]) -> None:
        self._method = method
        self._batches: list[dict[str, Tensor]] = []

    def __call__(self, batch: Any) -> Any:
        returned = self._method(batch)
        values = returned if isinstance(returned, Mapping) else {}
        count = size_of(batch)
        self._batches.append({n: v.detach() for n, v in values.items() if _is_per_sample(v, count)})
        return returned

    def everyones(self, share: int) -> tuple[dict[str, Values], frozenset[str]]:
        """The values of all ranks in the order of the data, and which of them are yes or no.

        Args:
            share: Which part of the samples this rank has seen; some ranks may have seen the same.
        """
        own = [{n: _numbers(v) for n, v in batch.items()} for batch in self._batches]
        parts = sorted(dict(everyones((share, own))).items())
        # Each step takes the next samples of the data, one share after the other.
        steps = [batch for step in zip_longest(*(seen for _, seen in parts)) for batch in step if batch]
        # A name that some batches lack has no value for every sample.
        names = [name for name in (steps[0] if steps else ()) if all(name in batch for batch in steps)]
        joined = {name: np.concatenate([batch[name] for batch in steps]) for name in names}
        shares = frozenset(name for name, values in joined.items() if np.isin(values, (0, 1)).all())
        return {name: values.astype(np.float64) for name, values in joined.items()}, shares


def evaluate(
    trainer: L.Trainer,
    module: L.LightningModule,
    source: Any,
    user: UserTrainer | None = None,
    *,
    method: str = "evaluate",
    keep: tuple[L.Callback, ...] = (),
) -> Measured:
    """Run Lightning's validation without loggers and callbacks: it leaves no trace in the run's records.

    Args:
        trainer: The run's own.
        module: What to evaluate.
        source: A LightningDataModule, or a loader.
        user: The trainer whose `evaluate` the module calls, for values of samples.
        method: Which method of the user's takes the place of `evaluate`.
        keep: Callbacks that stay.
    """
    found = None if user is None else user.method(method)
    recorder = None if found is None else SampleRecorder(found)
    where = {"datamodule": source} if isinstance(source, L.LightningDataModule) else {"dataloaders": source}
    with (
        _without_callbacks(trainer, keep),
        without_loggers(trainer),
        _in_place_of(user, "evaluate", recorder),
    ):
        rows = trainer.validate(module, **where, verbose=False)
        loader = trainer.val_dataloaders
        metrics = figures(trainer, rows)
    if recorder is None:
        return Measured(metrics)
    share = 0 if getattr(loader, "replicated", False) else share_of_data(trainer.strategy)[0]
    samples, shares = recorder.everyones(share)
    # As the run's figures are called.
    return Measured(
        metrics, {_reported(n): v for n, v in samples.items()}, frozenset(_reported(n) for n in shares)
    )


@contextmanager
def _without_callbacks(trainer: L.Trainer, keep: tuple[L.Callback, ...]) -> Iterator[None]:
    callbacks, trainer.callbacks = trainer.callbacks, list(keep)  # type: ignore[attr-defined]
    try:
        yield
    finally:
        trainer.callbacks = callbacks  # type: ignore[attr-defined]


@contextmanager
def _in_place_of(user: UserTrainer | None, name: str, method: Any) -> Iterator[None]:
    """A method of the user's object replaced for a while."""
    if user is None or method is None:
        yield
        return
    own = vars(user.object)
    before = own.get(name)
    setattr(user.object, name, method)
    try:
        yield
    finally:
        if before is None:
            del own[name]
        else:
            own[name] = before


def _is_per_sample(value: Any, count: int) -> bool:
    return isinstance(value, Tensor) and value.dim() > 0 and value.shape[0] == count


def _numbers(value: Tensor) -> np.ndarray[Any, Any]:
    flat = value.flatten(1).float().mean(1) if value.dim() > 1 else value
    if flat.dtype == torch.bfloat16:
        flat = flat.float()
    return np.asarray(flat.cpu().numpy())


def _reported(name: str) -> str:
    return "val_loss" if name == "loss" else name
