"""Where Lightning gets the loaders of a training, and goes through them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import lightning as L
from lightning.fabric.utilities.data import _set_sampler_epoch

from nimble_lightning.data.iteration import Iteration
from nimble_lightning.ops.lightning_packages import like


class Source:
    """Stands before the trainer's source of training loaders, of whichever of the two packages it is.

    Args:
        trainer: About to fit.
        adopt: What becomes of the loaders that the project gives.
    """

    def __init__(self, trainer: L.Trainer, adopt: Callable[[Any], Any]) -> None:
        self._source: Any = trainer.fit_loop._data_source
        self._adopt = adopt

    def stand_before(self) -> None:
        """From now on, until `step_aside`."""
        self._source.dataloader = self._dataloader

    def step_aside(self) -> None:
        """As it was."""
        vars(self._source).pop("dataloader", None)

    def _dataloader(self) -> Any:
        return self._adopt(type(self._source).dataloader(self._source))


def flat(trainer: L.Trainer, loaders: Any) -> list[Any]:
    """What Lightning reads by itself: one loader, or all of a collection."""
    return list(_combined(trainer, loaders).flattened)


def read_as_they_are(trainer: L.Trainer, loaders: Any, iteration: Iteration) -> Any:
    """What Lightning would make of loaders, with `iteration` told of all that is read."""
    plain = _combined(trainer, loaders)
    kind = _noting(like(trainer, "utilities.combined_loader.CombinedLoader"))
    combined = kind(plain.iterables, plain._mode)
    combined.iteration = iteration
    return combined


def tell_epoch(trainer: L.Trainer, loaders: list[Any]) -> None:
    """As Lightning does, but for an epoch that is resumed before its first batch is read."""
    for loader in loaders:
        _set_sampler_epoch(loader, trainer.fit_loop.epoch_progress.current.processed)


def _combined(trainer: L.Trainer, loaders: Any) -> Any:
    kind = like(trainer, "utilities.combined_loader.CombinedLoader")
    return loaders if isinstance(loaders, kind) else kind(loaders, "max_size_cycle")


@functools.cache
def _noting(base: type[Any]) -> Any:
    class Noting(base):  # type: ignore[misc]
        """Lightning's own, which says what it does; a copy of it is one of Lightning's."""

        iteration: Iteration

        def __iter__(self) -> Iterator[Any]:
            with self.iteration.beginning(self.flattened):
                super().__iter__()
            self.iteration.begun(self._iterator.iterators, self._iterator)
            return self

        def __next__(self) -> Any:
            self.iteration.before()
            try:
                batch = super().__next__()
            except StopIteration:
                self.iteration.ended()
                raise
            self.iteration.after()
            return batch

        def __reduce__(self) -> Any:
            return base, (self.iterables, self._mode)

    return Noting
