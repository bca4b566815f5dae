"""A plain DataLoader of somebody's, whose next iterator begins in the middle of an epoch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any

from torch.utils.data import DataLoader, IterableDataset

from nimble_lightning.data.draws import Moment
from nimble_lightning.data.worker_draws import Begins, Tells


def can_be_taken_apart(loader: Any) -> bool:
    """Whether batches come of the dataset in the way of torch, which no class of somebody's has changed."""
    ways = ("__iter__", "_get_iterator", "_index_sampler")
    ours = isinstance(loader, DataLoader)
    return ours and all(getattr(type(loader), way) is getattr(DataLoader, way) for way in ways)


def is_plain(loader: Any) -> bool:
    """Whether they come of indices besides, each batch in its turn."""
    by_index = can_be_taken_apart(loader) and not isinstance(loader.dataset, IterableDataset)
    return by_index and getattr(loader, "in_order", True)


class PassedOver:
    """A sampler that, the first time it is run through, passes over what was trained on.

    Args:
        sampler: Of the project.
        count: How much.
        enter: Called before its first draw.
        leave: Called after what is passed over.
    """

    def __init__(
        self, sampler: Any, count: int, enter: Callable[[], None], leave: Callable[[], None]
    ) -> None:
        self._sampler = sampler
        self._count = count
        self._enter, self._leave = enter, leave
        self._first = True

    def __iter__(self) -> Iterator[Any]:
        # Nothing of this runs before the first index is asked for, which is when torch's samplers draw.
        if not self._first:
            yield from self._sampler
            return
        self._first = False
        self._enter()
        units = iter(self._sampler)
        for _ in islice(units, self._count):
            pass
        self._leave()
        yield from units

    def __len__(self) -> int:
        return len(self._sampler)

    def __getattr__(self, name: str) -> Any:
        return getattr(vars(self)["_sampler"], name)


@contextmanager
def arranged(
    loader: DataLoader[Any], passed_over: Callable[[Any], PassedOver] | None, workers: dict[int, Moment]
) -> Iterator[None]:
    """While the block lasts an iterator of the loader is made so; its own attributes are back afterwards.

    Args:
        loader: That of a project.
        passed_over: Makes another sampler of its sampler.
        workers: Where its workers go on, by number.
    """
    held = vars(loader)
    kept = {name: held[name] for name in ("sampler", "batch_sampler", "collate_fn", "worker_init_fn")}
    if passed_over is not None:
        name = "sampler" if loader.batch_sampler is None else "batch_sampler"
        held[name] = passed_over(held[name])
    if loader.num_workers:
        collate = loader.collate_fn
        held["collate_fn"] = Tells(collate)
        held["worker_init_fn"] = Begins(loader.worker_init_fn, collate, workers)
    try:
        yield
    finally:
        held.update(kept)
