"""Metrics that count every sample exactly once, on any number of ranks, without keeping any output."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias

import lightning as L
import torch
from torch import Tensor
from torchmetrics import Metric, MetricCollection
from torchmetrics.utilities.data import dim_zero_cat, dim_zero_max, dim_zero_min, dim_zero_sum

from nimble_lightning.adapters.returned_figures import as_tensor, flat, named, say_once
from nimble_lightning.errors import TrainerError
from nimble_lightning.ops.metric_values import number
from nimble_lightning.ranks import everyones, world_size

Kept: TypeAlias = Metric | MetricCollection

# How states of torchmetrics may be put together.
_MERGED: set[Any] = {dim_zero_sum, dim_zero_max, dim_zero_min, dim_zero_cat}
# Adding up in another order changes the last bits of float32; figures of other samples differ by more.
_ROUNDING = 1e-6


class Means:
    """Sums and counts by name. Nothing is copied from the device until `compute`.

    Attributes:
        higher_is_better: What torchmetrics objects said of theirs at the last `compute`.
    """

    def __init__(self) -> None:
        self.higher_is_better: dict[str, bool] = {}
        self._sums: dict[str, Tensor] = {}
        self._sizes: dict[str, float] = {}
        self._metrics: dict[str, Kept] = {}
        self._any = self._repeated = False

    def add(
        self, values: Any, samples: int, *, items: float | None = None, repeated: bool = False, rank: int = 0
    ) -> None:
        """Take what `evaluate` returned for a batch of that many samples.

        Args:
            values: Metrics by name.
            samples: The size of the batch.
            items: What means are over where that is not samples, such as tokens.
            repeated: Whether all ranks see the same samples, of which one is to count them.
            rank: Of this process.
        """
        self._any, self._repeated = True, repeated
        for name, value in named(values).items():
            if isinstance(value, Metric | MetricCollection):
                self._keep(name, value)
            else:
                self._add(name, value, samples, items, counts=not repeated or rank == 0)

    def compute(self, device: torch.device, group: Any = None, data: str = "eval") -> dict[str, float]:
        """The means over all ranks.

        Args:
            device: Of the module.
            group: The ranks that have other samples, where some have the same.
            data: What the data is called.
        """
        figures = self._reduced(self._agreed_names(data), device)
        for name, metric in self._metrics.items():
            computed = flat(name, _computed(metric, group, everywhere=self._repeated))
            for found, value in computed.items():
                if found in figures:
                    raise TrainerError(f"two figures are called {found!r}; rename one.")
                figures[found] = value
            self.higher_is_better.update(_stated(metric, computed))
        for metric in self._metrics.values():
            metric.reset()
        self._sums, self._sizes, self._metrics, self._any = {}, {}, {}, False
        return figures

    def _keep(self, name: str, metric: Kept) -> None:
        """A metric made anew for every batch knows that batch alone: it takes over what was before."""
        before = self._metrics.get(name, metric)
        self._metrics[name] = metric
        if before is metric:
            return
        try:
            _take_over(metric, before)
        except Exception as error:
            raise TrainerError(
                f"evaluate made the torchmetrics object {name!r} anew for every batch, and those of "
                f"{type(metric).__name__} cannot be put together. Make it once, in pre_process: "
                f"self.{name} = ..."
            ) from error

    def _add(self, name: str, value: Any, samples: int, items: float | None, *, counts: bool) -> None:
        tensor = as_tensor(name, value)
        wide = torch.float32 if tensor.device.type == "mps" else torch.float64
        if tensor.dim() and tensor.shape[0] != samples:
            raise TrainerError(
                f"evaluate returned {name!r} with {tensor.shape[0]} values for a batch of {samples} samples; "
                "return one value per sample, the mean over the batch, or a torchmetrics object."
            )
        size = float(samples)
        if not tensor.dim():
            size = size if items is None else items
            part = _sum_of_mean(tensor, size, wide)
        else:
            part = (tensor.flatten(1).to(wide).mean(1) if tensor.dim() > 1 else tensor).sum(dtype=wide)
        if not counts:
            part, size = torch.zeros_like(part), 0.0
        self._sums[name] = self._sums[name] + part if name in self._sums else part
        self._sizes[name] = self._sizes.get(name, 0.0) + size

    def _agreed_names(self, data: str) -> list[str]:
        """Of the means; a rank that had no batch learns them from the others."""
        everyone = everyones((list(self._sums), list(self._metrics)) if self._any else None)
        told = [names for names in everyone if names is not None]
        if not told:
            raise TrainerError(f"The {data} data gave no batch: it is empty, or can be read only once.")
        means, metrics = told[0]
        if any(set(names[0]) != set(means) or names[1] != metrics for names in told):
            raise TrainerError(
                f"evaluate returned different metrics on different ranks: {[a + b for a, b in told]}. Return "
                "the same names for every batch."
            )
        if metrics and len(told) < len(everyone):
            raise TrainerError(
                f"rank {everyone.index(None)} has no batch of the {data} data, which {metrics[0]!r} needs on "
                "every rank; use fewer ranks."
            )
        return means

    def _reduced(self, names: list[str], device: torch.device) -> dict[str, float]:
        kind = torch.float32 if device.type == "mps" else torch.float64
        table = torch.tensor(
            [[0.0, self._sizes.get(n, 0.0)] for n in names], dtype=kind, device=device
        ).reshape(len(names), 2)
        for row, name in enumerate(names):
            table[row, 0] = self._sums.get(name, 0.0)
        if world_size() > 1:
            torch.distributed.all_reduce(table)
        return {
            n: total / size if size else float("nan")
            for n, (total, size) in zip(names, table.tolist(), strict=True)
        }


def same_on_all_ranks(figures: Mapping[str, float]) -> dict[str, float]:
    """The figures, once every rank has shown to have the same. Every rank must call this."""
    everyone = everyones(dict(figures))
    for name in dict.fromkeys(name for found in everyone for name in found):
        values = [found.get(name) for found in everyone]
        rank = next((r for r, value in enumerate(values) if not _alike(value, values[0])), None)
        if rank is not None:
            raise TrainerError(
                f"{name} is {values[0]} on rank 0 and {values[rank]} on rank {rank}, as it was worked out "
                "from that rank's own samples.\n"
                "Return values per sample, means or a torchmetrics object from evaluate, and let "
                "compute_metrics work with the figures it is given; or use one device."
            )
    return everyone[0]


def figures(trainer: L.Trainer, rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The metrics of `validate` or `test`, as exact as they were logged.

    Lightning's own rows are less exact. Every rank must call this.
    """
    kept = trainer.callback_metrics
    found = {name: number(kept.get(name, value)) for row in rows for name, value in row.items()}
    others = everyones(found)[1:]
    for name, value in found.items():
        if not all(_alike(value, other.get(name)) for other in others):
            # Of a LightningModule, and what the run goes by is the figure of the first rank.
            say_once(f"{name} is that of the samples of this rank alone; log it with sync_dist=True")
    return found


@contextmanager
def without_loggers(trainer: L.Trainer) -> Iterator[None]:
    """For an evaluation that leaves no row behind."""
    loggers, trainer.loggers = trainer.loggers, []
    try:
        yield
    finally:
        trainer.loggers = loggers


def _alike(one: float | None, other: float | None) -> bool:
    if one is None or other is None:
        return one is other
    return math.isclose(one, other, rel_tol=_ROUNDING) or (math.isnan(one) and math.isnan(other))


def _sum_of_mean(mean: Tensor, items: float, wide: torch.dtype) -> Tensor:
    """The sum that a mean was made from.

    A whole number comes back exactly, such as a count of right answers: 9 of 10 in float32 are
    0.8999999761581421.
    """
    total = mean.to(wide) * items
    if mean.dtype not in (torch.float32, torch.float64):
        return total
    whole = total.round()
    return torch.where((total - whole).abs() <= torch.finfo(mean.dtype).eps * whole.abs(), whole, total)


def _take_over(metric: Kept, before: Kept) -> None:
    """Reduce sums, extremes and lists over the ranks.

    Torchmetrics would also reduce what it cannot, such as a mean without knowing over how many.
    """
    if isinstance(metric, MetricCollection) or isinstance(before, MetricCollection):
        raise TypeError("a collection shares states")
    if not _MERGED.issuperset(metric._reductions.values()):
        raise TypeError("a state is no sum")
    metric.merge_state(before)


def _computed(metric: Kept, group: Any, *, everywhere: bool) -> Any:
    """Over the samples of all ranks; where every rank has seen all of them there is nobody to ask."""
    parts = [part for part in metric.modules() if isinstance(part, Metric)]
    before = [part.sync_on_compute for part in parts]
    for part in parts:
        part.process_group = part.process_group or group
        part.sync_on_compute = part.sync_on_compute and not everywhere
    try:
        return metric.compute()
    finally:
        for part, synced in zip(parts, before, strict=True):
            part.sync_on_compute = synced


def _stated(metric: Kept, names: Iterable[str]) -> dict[str, bool]:
    """Which of its figures a torchmetrics object says are better higher, or lower."""
    owners = dict(metric.items()) if isinstance(metric, MetricCollection) else dict.fromkeys(names, metric)
    found = {name: owners[name].higher_is_better for name in names if name in owners}
    return {name: higher for name, higher in found.items() if higher is not None}
