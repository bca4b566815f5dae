"""What worker processes of somebody's own loader draw, told with each batch and put back after a resume."""

from __future__ import annotations

import pickle
import weakref
from collections.abc import Callable
from typing import Any

from torch.utils.data import get_worker_info
from torch.utils.data._utils.pin_memory import pin_memory

from nimble_lightning.data.draws import Draws, Moment

# A worker that drew nothing for so many batches is looked at for one in so many.
_FIRST, _ONE_IN = 16, 64


class Told:
    """A batch on its way from a worker, with what the worker draws next; None where it drew nothing."""

    def __init__(self, batch: Any, moment: Moment | None) -> None:
        self.batch = batch
        # Tensors would travel each with a file of its own.
        self.moment = None if moment is None else pickle.dumps(moment)

    def pin_memory(self, device: Any = None) -> Told:
        """Torch asks this of what it does not know."""
        self.batch = pin_memory(self.batch, device)
        return self


class Tells:
    """A collate function that says with each batch what the worker will draw next."""

    def __init__(self, collate: Callable[[list[Any]], Any]) -> None:
        self.collate = collate
        self._draws: Draws | None = None
        self._last: Moment | None = None
        self._count = 0

    def __call__(self, samples: Any) -> Any:
        batch = self.collate(samples)
        if (worker := get_worker_info()) is None:
            return batch
        self._draws = self._draws or Draws(worker.dataset, self.collate)
        self._count += 1
        if self._count > _FIRST and self._count % _ONE_IN:
            return Told(batch, None)
        now = self._draws.now()
        changed = self._last is None or not now.same(self._last)
        if changed and self._last is not None:
            # It draws: from now on every batch is told.
            self._count = 0
        self._last = now
        return Told(batch, now if changed else None)


class Begins:
    """The start of a worker: as the project has it, then where it was before."""

    def __init__(
        self, init: Callable[[int], None] | None, collate: Callable[[Any], Any], begin: dict[int, Moment]
    ) -> None:
        self._init = init
        self._collate = collate
        self._begin = begin

    def __call__(self, worker: int) -> None:
        if self._init is not None:
            self._init(worker)
        info = get_worker_info()
        if worker in self._begin and info is not None:
            Draws(info.dataset, self._collate).put_back(self._begin[worker])


class WorkerDraws:
    """Of all workers of one loader, in the main process.

    Args:
        iterator: That of the loader, which begins with this batch of its epoch.
        batch: Its number.
        begin: Where workers go on, by number.
    """

    def __init__(self, iterator: Any, batch: int, begin: dict[int, Moment]) -> None:
        self.workers = iterator._num_workers
        self._before = {number: pickle.dumps(moment) for number, moment in begin.items()}
        self._after: dict[int, bytes | None] = {}
        self._batch = batch
        process = type(iterator)._process_data
        # An iterator that held itself would end its workers when it is found, not when it is done.
        self.iterator = alive = weakref.ref(iterator)

        def take(*arguments: Any) -> Any:
            told = process(alive(), *arguments)
            if not isinstance(told, Told):
                return told
            self._after[self._batch] = told.moment or self._known(self._batch)
            self._after.pop(self._batch - 4 * self.workers, None)
            self._batch += 1
            return told.batch

        iterator._process_data = take

    def begin_again(self) -> None:
        """A new epoch, for the same workers: they draw on."""
        last = {number % self.workers: self._after[number] for number in sorted(self._after)}
        self._before.update({worker: told for worker, told in last.items() if told is not None})
        self._batch, self._after = 0, {}

    def at(self, batch: int) -> dict[int, Moment]:
        """Where each worker was before its part of the round of batches that begins with this one."""
        known = {worker: self._known(batch + worker) for worker in range(self.workers)}
        return {worker: pickle.loads(told) for worker, told in known.items() if told is not None}

    def _known(self, batch: int) -> bytes | None:
        """Where its worker was before this batch."""
        before = self._before.get(batch % self.workers)
        return self._after.get(batch - self.workers, before)
