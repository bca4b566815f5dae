"""Somebody's own loaders, read as they are: what they draw is noted, so that a resumed run reads on alike."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from nimble_lightning.data.draws import Draws, Moment
from nimble_lightning.data.plain_dataloader import PassedOver, arranged, is_plain
from nimble_lightning.data.worker_draws import WorkerDraws

log = logging.getLogger(__name__)

_Moments = dict[int, Moment]


class Iteration:
    """The epochs of some loaders, one after another.

    Nothing of a loader is changed for longer than its iterator takes to be made, and its batches are what
    they would be without. After a resume a plain loader passes over the indices of what was trained on;
    others are read again up to there.

    Args:
        announce: Tells loaders which epoch it is.
    """

    def __init__(self, announce: Callable[[list[Any]], None]) -> None:
        self._announce = announce
        self._first: Moment | None = None
        self._resumed: dict[str, Any] | None = None
        self._workers: WorkerDraws | None = None
        self._begin([], None)

    # --- an epoch ------------------------------------------------------------------------------

    def beginning(self, loaders: list[Any]) -> AbstractContextManager[None]:
        """The block in which the iterators of an epoch are made."""
        resumed, self._resumed = self._resumed, None
        if resumed is not None:
            self._announce(loaders)
        self._begin(loaders, resumed)
        if not self._plain:
            return nullcontext()
        over = self._passed_over if resumed is not None else None
        return arranged(loaders[0], over, self._workers_at)

    def begun(self, iterators: list[Any], batches: Iterator[Any]) -> None:
        """They are made; what was trained on and could not be passed over is read again."""
        if self._plain and hasattr(iterators[0], "_process_data"):
            self._listen(iterators[0])
        if self._again and self._here and self._first is not None:
            self._draws.put_back(self._first)
        if self._anew and self._here:
            # Nothing that happens before the first batch is read counts.
            self._ahead.append(self._draws.now())
        # Going through them in a loop would begin them anew.
        for _ in range(self._again):
            next(batches, None)

    def before(self) -> None:
        """A batch is read next."""
        if not self._here:
            self._pending.append(None)
            return
        if self._ahead:
            self._draws.put_back(self._ahead.popleft())
        if self._first is None:
            self._first = self._draws.now()
        self._pending.append(self._draws.before())

    def after(self) -> None:
        """It has been read."""
        if (moment := self._pending[-1]) is not None:
            self._pending[-1] = self._draws.after(moment)

    def ended(self) -> None:
        """There was none."""
        self._pending.pop()
        self._ended = True

    def consumed(self) -> None:
        """The oldest batch has been trained on."""
        if self._pending:
            self._pending.popleft()
        self._consumed += 1

    # --- its state -----------------------------------------------------------------------------

    def state_dict(self, total: float) -> dict[str, Any]:
        """Where to go on in an epoch of so many batches; the end of it is the start of the next."""
        now = self._draws.now()
        state: dict[str, Any] = {"batches": 0, "fetched": bool(self._pending)}
        state["own"] = Moment({}, now.own).exported()
        if not self._pending and (self._ended or self._consumed >= total):
            return state
        ahead = [moment for moment in self._pending if moment is not None]
        state["batches"] = self._consumed
        state["lived_on"] = self._lived_on
        state["ahead"] = [moment.exported() for moment in ahead or [now] if self._here]
        state["begun"] = self._begun.exported()
        if self._first is not None:
            state["first"] = self._first.exported()
        if self._workers is not None:
            at = self._workers.at(self._consumed - self._consumed % self._workers.workers)
            state["workers"] = {worker: moment.exported() for worker, moment in at.items()}
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on there with the next epoch that begins."""
        self._resumed = state

    def restore(self, state: dict[str, Any]) -> bool:
        """Have generators that loaders hold draw from where they were when the state was taken.

        Returns:
            Whether the global ones have to be put back too. What was read after it, and draws from those, was
            read from where they were.
        """
        if not state["fetched"] and (self._here or "begun" not in state):
            return False
        self._draws.put_back(Moment.imported(state["own"]))
        return True

    # --- how -------------------------------------------------------------------------------------

    def _begin(self, loaders: list[Any], resumed: dict[str, Any] | None) -> None:
        state = resumed or {}
        self._draws = Draws(*loaders)
        self._plain = len(loaders) == 1 and is_plain(loaders[0])
        # Whether any of it is read in this process, from the generators that training draws from too.
        self._here = not all(getattr(loader, "num_workers", 0) for loader in loaders)
        self._rounds = max((getattr(loader, "num_workers", 0) for loader in loaders), default=0)
        self._ended = False
        self._pending: deque[Moment | None] = deque()
        self._ahead = deque(Moment.imported(moment) for moment in state.get("ahead", ()))
        self._consumed = self._again = int(state.get("batches", 0))
        self._first = Moment.imported(state["first"]) if "first" in state else None
        self._workers_at: _Moments = {
            int(worker): Moment.imported(moment) for worker, moment in state.get("workers", {}).items()
        }
        alive = any(getattr(loader, "_iterator", None) is not None for loader in loaders)
        self._lived_on = bool(state.get("lived_on", alive))
        # At the end of an epoch nothing of the next one has begun; what loaders hold goes on from there.
        if (moment := state.get("begun", state.get("own"))) is not None:
            self._draws.put_back(Moment.imported(moment))
        self._begun = self._draws.now()
        # Where the epoch before had been gone through when the state was taken.
        self._anew = resumed is not None and "begun" not in resumed

    def _passed_over(self, sampler: Any) -> PassedOver:
        """Workers take turns, so the round that they had begun is read again, each batch by its worker."""
        self._again = 0 if self._here else self._consumed % self._rounds
        here, first, ahead = self._here, self._first, list(self._ahead)

        def enter() -> None:
            if here and first is not None:
                self._draws.put_back(first)
            elif self._lived_on:
                # Making the iterator has drawn the seed of workers that were alive then.
                self._draws.put_back(self._begun)

        def leave() -> None:
            if ahead:
                self._draws.put_back(ahead[0])

        return PassedOver(sampler, self._consumed - self._again, enter, leave)

    def _listen(self, iterator: Any) -> None:
        """To what workers tell; those that live on have been listened to before."""
        if self._workers is not None and self._workers.iterator() is iterator:
            self._workers.begin_again()
        else:
            self._workers = WorkerDraws(iterator, self._consumed - self._again, self._workers_at)
