"""Metrics that count every sample exactly once, on any number of ranks, without keeping any output."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from nimble_lightning.adapters.losses import LabelCount, loss_and_count
from nimble_lightning.errors import TrainerError
from nimble_lightning.ranks import everyones, world_size


class Means:
    """Sums and counts by name. Nothing is copied from the device until `compute`."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._sizes: dict[str, int] = {}
        self._metrics: dict[str, Metric] = {}

    def add(self, values: Any, samples: int, *, counts: bool = True) -> None:
        """Take what `evaluate` returned for a batch of that many samples.

        Args:
            values: Metrics by name.
            samples: The size of the batch.
            counts: False where this rank only repeats what another one counts.
        """
        for name, value in _named(values).items():
            if isinstance(value, Metric):
                self._metrics[name] = value
            else:
                self._add(name, value, samples, counts)

    def compute(self, device: torch.device, group: Any = None) -> dict[str, float]:
        """The means over all ranks.

        Args:
            device: Of the module.
            group: The ranks that have other samples, where some have the same.
        """
        means = self._reduced(device)
        for name, metric in self._metrics.items():
            metric.process_group = metric.process_group or group
            value = metric.compute()
            metric.reset()
            means.update(_flat(name, value))
        self._sums.clear()
        self._sizes.clear()
        return means

    def _add(self, name: str, value: Any, samples: int, counts: bool) -> None:
        tensor = torch.as_tensor(value).detach()
        if tensor.dim() and tensor.shape[0] != samples:
            raise TrainerError(
                f"evaluate returned {name!r} with {tensor.shape[0]} values for a batch of {samples} samples; "
                "return one value per sample, the mean over the batch, or a torchmetrics object."
            )
        if not tensor.dim():
            part = tensor.double() * samples if tensor.device.type != "mps" else tensor.float() * samples
        else:
            part = tensor.flatten(1).float().mean(1) if tensor.dim() > 1 else tensor
            part = part.sum(dtype=torch.float32 if part.device.type == "mps" else torch.float64)
        if not counts:
            part, samples = part * 0, 0
        self._sums[name] = self._sums[name] + part if name in self._sums else part
        self._sizes[name] = self._sizes.get(name, 0) + samples

    def _reduced(self, device: torch.device) -> dict[str, float]:
        names = list(self._sums)
        kind = torch.float32 if device.type == "mps" else torch.float64
        table = torch.tensor(
            [[0.0, float(self._sizes[n])] for n in names], dtype=kind, device=device
        ).reshape(len(names), 2)
        for row, name in enumerate(names):
            table[row, 0] = self._sums[name]
        if world_size() > 1:
            _require_same_names(names)
            torch.distributed.all_reduce(table)
        return {
            n: total / size if size else float("nan")
            for n, (total, size) in zip(names, table.tolist(), strict=True)
        }


def weighed(output: Any, batch: Any, samples: int, label_count: LabelCount) -> tuple[Any, int]:
    """Metrics, and how many items their means are over: tokens where a model says its loss, else samples."""
    if not _is_model_output(output):
        return output, samples
    loss, items = loss_and_count(output, batch, samples, None, label_count)
    return {"loss": loss}, int(items)


def _is_model_output(values: Any) -> bool:
    return isinstance(values, Mapping) and "logits" in values and "loss" in values


def _named(values: Any) -> Mapping[str, Any]:
    if isinstance(values, Mapping):
        return {"loss": values["loss"]} if _is_model_output(values) else values
    if isinstance(values, Metric):
        return {type(values).__name__.lower(): values}
    if isinstance(values, Tensor | float | int):
        return {"loss": values}
    if values is None:
        return {}
    raise TrainerError(
        f"evaluate returned {type(values).__name__}; expected metrics by name, such as {{'accuracy': ...}}."
    )


def _flat(name: str, value: Any) -> dict[str, float]:
    if isinstance(value, Mapping):
        return {k: float(v) for k, v in value.items()}
    tensor = torch.as_tensor(value)
    return (
        {name: float(tensor)}
        if tensor.numel() == 1
        else {f"{name}_{i}": float(v) for i, v in enumerate(tensor.flatten())}
    )


def _require_same_names(names: list[str]) -> None:
    everyone = everyones(names)
    if any(other != names for other in everyone):
        raise TrainerError(
            f"evaluate returned different metrics on different ranks: {everyone}. Return the same names for "
            "every batch."
        )
