"""From indices to a batch, here or in a worker process, with the same result."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import DataLoader, get_worker_info
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

from nimble_lightning.data.loader import Options, Position
from nimble_lightning.data.random_generators import Generators
from nimble_lightning.data.rng import seeded
from nimble_lightning.errors import TrainerError
from nimble_lightning.ops.object_members import attributes

log = logging.getLogger(__name__)

READ_AHEAD = (
    "it changes where samples are read, ahead of training; let them depend on their index, set_epoch() and "
    "random generators"
)


class FetchJob(NamedTuple):
    """One batch to make. `key` is where it lies in the epoch: the same for any number of workers."""

    epoch: int
    key: int
    indices: list[int]


class Fetch:
    """Reads and collates samples with random numbers that depend on the batch alone.

    Args:
        dataset: anything with `__getitem__`; read by `__getitems__` where it has that.
        collate: makes a batch of a list of samples; None reads a Hugging Face dataset column by column.
        seed: of the random draws.
    """

    def __init__(self, dataset: Any, collate: Callable[[list[Any]], Any] | None, seed: int) -> None:
        self._dataset = dataset
        self._collate = collate
        self._seed = seed
        self._epoch: int | None = None
        self._own = Generators()

    def __getitems__(self, job: FetchJob) -> Any:
        # Nobody else sees what changes in a worker, and one of them is enough to tell.
        telling = self._epoch is None and (worker := get_worker_info()) is not None and worker.id == 0
        before = _numbers(self._dataset) if telling else {}
        batch = self._fetch(job)
        after = _numbers(self._dataset) if telling else {}
        if changed := [name for name, value in after.items() if value != before.get(name)]:
            names = ", ".join(f"{type(self._dataset).__name__}.{name}" for name in changed)
            log.warning("not restored after a kill: %s; %s", names, READ_AHEAD)
        return batch

    def _fetch(self, job: FetchJob) -> Any:
        keys = ("fetch", self._seed, job.epoch, job.key)
        with seeded(*keys):
            if job.epoch != self._epoch:
                self._begin(job.epoch)
            with self._own.private(*keys):
                try:
                    return self._batch(job.indices)
                except StopIteration as error:
                    # To those who read it would say that the data has come to its end.
                    raise TrainerError(
                        f"{type(self._dataset).__name__} raised StopIteration for samples "
                        f"{job.indices[:4]}..., where it says that there are more. "
                        "Start what it iterates over anew there."
                    ) from error

    def _begin(self, epoch: int) -> None:
        """Here, not in the main process alone: workers live on and hold a copy of the dataset."""
        if callable(set_epoch := getattr(self._dataset, "set_epoch", None)):
            set_epoch(epoch)
        self._epoch, self._own = epoch, Generators(self._dataset, self._collate)

    def _batch(self, indices: list[int]) -> Any:
        if self._collate is None:
            return collate_columns(self._dataset[indices])
        if callable(read := getattr(self._dataset, "__getitems__", None)):
            return self._collate(read(indices))
        return self._collate([self._dataset[index] for index in indices])


class Feed:
    """Sends jobs through torch's DataLoader, whose workers live from epoch to epoch.

    Args:
        fetch: does the work.
        options: the number of workers, and whether to pin.
        more: further arguments of the DataLoader.
    """

    def __init__(self, fetch: Fetch, options: Options, more: dict[str, Any] | None = None) -> None:
        self._jobs = _Jobs()
        self._running: Iterator[Any] | None = None
        self._loader: DataLoader[Any] = DataLoader(
            fetch,  # type: ignore[arg-type]
            batch_sampler=self._jobs,  # type: ignore[arg-type]
            collate_fn=as_it_is,
            num_workers=options.num_workers,
            persistent_workers=options.num_workers > 0,
            pin_memory=options.pin_memory and torch.cuda.is_available(),
            generator=torch.Generator(),
            **(more or {}),
        )

    def run(self, jobs: Iterator[tuple[Position, FetchJob]]) -> Iterator[tuple[Position, Any]]:
        """The batch of each job, in order, with the position that came with it."""
        marks: deque[Position] = deque()
        self._jobs.waiting = _noting(jobs, marks)
        self._running = iter(self._loader)
        for batch in self._running:
            yield marks.popleft(), batch

    def close(self) -> None:
        """End the workers."""
        shut_down(self._running)
        self._loader._iterator = None


def _numbers(dataset: Any) -> dict[str, Any]:
    """What it counts, by name."""
    return {name: value for name, value in attributes(dataset).items() if type(value) in (int, float, bool)}


class _Jobs:
    """The batch sampler of a DataLoader, given anew for each run."""

    waiting: Iterator[FetchJob] = iter(())

    def __iter__(self) -> Iterator[FetchJob]:
        return self.waiting


def _noting(jobs: Iterator[tuple[Position, FetchJob]], marks: deque[Position]) -> Iterator[FetchJob]:
    for mark, job in jobs:
        marks.append(mark)
        yield job


def shut_down(running: Iterator[Any] | None) -> None:
    """End the workers of a DataLoader's iterator now, rather than when nothing refers to it any more."""
    if isinstance(running, _MultiProcessingDataLoaderIter):
        running._shutdown_workers()


def as_it_is(batch: Any) -> Any:
    """Leaves a batch alone; a function with a name, since workers may have to be sent it."""
    return batch


def collate_rows(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """A batch of samples that are dicts with the same keys."""
    return collate_columns({name: [row[name] for row in rows] for name in rows[0]})


def collate_columns(columns: dict[str, Any]) -> dict[str, Any]:
    """A batch of columns, each a list with one value a sample or a tensor already."""
    return {name: _stack(values) for name, values in columns.items()}


def _stack(values: Any) -> Any:
    if isinstance(values, np.ndarray):
        return torch.from_numpy(values) if values.dtype.kind in "biufc" else values
    if not isinstance(values, list):
        return values
    if all(isinstance(value, torch.Tensor) for value in values):
        alike = len({(value.shape, value.dtype) for value in values}) == 1
        return torch.stack(values) if alike else values
    if all(isinstance(value, np.ndarray) and value.dtype.kind in "biufc" for value in values):
        return torch.from_numpy(np.stack(values)) if len({value.shape for value in values}) == 1 else values
    return _stacked(values)


def _stacked(values: list[Any]) -> Any:
    try:
        stacked = torch.tensor(values)
    except (TypeError, ValueError, RuntimeError):
        # What torch says of texts, ragged lists and None; looking for them first takes longer than the rest.
        return values
    return stacked if stacked.numel() else values
