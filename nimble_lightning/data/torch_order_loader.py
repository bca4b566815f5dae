"""A DataLoader's batches in the very order in which torch itself would give them."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils.data import DataLoader
from typing_extensions import override

from nimble_lightning.data.fetch import Fetch
from nimble_lightning.data.loader import Options, Position
from nimble_lightning.data.sampled_loader import SampledLoader
from nimble_lightning.data.sequential_source import SequentialSource


class TorchOrderLoader(SampledLoader):
    """Draws the order of an epoch from the global random numbers, as an iterator of a DataLoader does.

    So a loop that is moved here sees the same samples, and whatever draws after them the same numbers. What
    the order was drawn from is kept with the position.

    Args:
        dataset: What is read.
        batch_sampler: Yields lists of indices, for all ranks.
        options: Of which `seed` decides only what is drawn while samples are read.
        ready: Whose further arguments hold.
    """

    def __init__(self, dataset: Any, batch_sampler: Any, options: Options, ready: DataLoader[Any]) -> None:
        more: dict[str, Any] = {"timeout": ready.timeout}
        if options.num_workers > 0:
            more["prefetch_factor"] = ready.prefetch_factor
            more["multiprocessing_context"] = ready.multiprocessing_context
            more["worker_init_fn"] = ready.worker_init_fn
        super().__init__(
            Fetch(dataset, options.collate, options.seed), batch_sampler, options, more, lists=True
        )
        self.dataset = dataset
        self.batch_size = ready.batch_size
        self.drop_last = options.drop_last
        self._batches: tuple[int, list[list[int]]] | None = None
        self._drawn_from: torch.Tensor | None = None

    @override
    def state_dict(self) -> dict[str, Any]:
        state = super().state_dict()
        if self._drawn_from is not None and state["batches"]:
            state["drawn_from"] = self._drawn_from
        return state

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        if (drawn_from := state_dict.get("drawn_from")) is not None:
            before = torch.get_rng_state()
            torch.set_rng_state(drawn_from.cpu())
            try:
                self._draw(int(state_dict["epoch"]))
            finally:
                torch.set_rng_state(before)

    @override
    def _tape(self, start: Position) -> SequentialSource:
        if self._batches is None or self._batches[0] != start.epoch:
            self._draw(start.epoch)
        drawn = self._batches[1] if self._batches is not None else []
        return SequentialSource(drawn, self.options.seed, start.epoch, self._passed(start))

    def _draw(self, epoch: int) -> None:
        self._drawn_from = torch.get_rng_state()
        # An iterator over a DataLoader draws the seed of its workers, whether or not there are any.
        torch.empty((), dtype=torch.int64).random_()
        inner = getattr(self._sampler, "sampler", None)
        for part in (self._sampler, inner):
            if callable(set_epoch := getattr(part, "set_epoch", None)):
                set_epoch(epoch)
        self._batches = epoch, [list(indices) for indices in self._sampler]
