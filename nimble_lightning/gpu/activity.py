"""How many multiprocessors are busy, by the card's own performance monitoring (Hopper and later)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from nimble_lightning.gpu.device import Gpu

# Numbers of NVML's metrics.
_SM, _PCIE_SENT, _PCIE_RECEIVED = 2, 20, 21
_METRICS = (_SM, _PCIE_SENT, _PCIE_RECEIVED)
_MIB = 2.0**20


@dataclass(frozen=True)
class Activity:
    """What happened between two looks.

    Attributes:
        sm_active: Per cent of the multiprocessors that were busy.
        pcie: Bytes a second received and transmitted.
    """

    sm_active: float | None = None
    pcie: tuple[float, float] | None = None


class ActivityMeter:
    """Compares each look with the one before; where anything about it is not supported it is off for good."""

    def __init__(self, gpu: Gpu) -> None:
        self._gpu = gpu
        self._nvml = gpu.nvml
        self._request: Any = getattr(self._nvml.library, "c_nvmlGpmMetricsGet_t", None)
        support = self._nvml.ask("nvmlGpmQueryDeviceSupport", gpu.unit.card)
        supported = self._request is not None and support is not None and support.isSupportedDevice
        samples = [self._nvml.ask("nvmlGpmSampleAlloc") for _ in range(2)] if supported else []
        self._samples = [sample for sample in samples if sample is not None]
        self._seen = 0

    def look(self) -> Activity:
        """What happened since the last look; nothing known at the first."""
        if len(self._samples) < 2:
            return Activity()
        now, before = self._samples[self._seen % 2], self._samples[(self._seen + 1) % 2]
        if not self._take(now):
            self.close()
            return Activity()
        self._seen += 1
        return self._between(before, now) if self._seen > 1 else Activity()

    def close(self) -> None:
        """Give the driver its memory back."""
        samples, self._samples = self._samples, []
        for sample in samples:
            self._nvml.ask("nvmlGpmSampleFree", sample)

    def _take(self, sample: Any) -> bool:
        unit = self._gpu.unit
        if unit.instance is None:
            return self._nvml.ask("nvmlGpmSampleGet", unit.card, sample) is not None
        return self._nvml.ask("nvmlGpmMigSampleGet", unit.card, unit.instance, sample) is not None

    def _between(self, before: Any, now: Any) -> Activity:
        request = self._request()
        request.version = 1
        request.numMetrics = len(_METRICS)
        request.sample1, request.sample2 = before, now
        for place, metric in enumerate(_METRICS):
            request.metrics[place].metricId = metric
        if self._nvml.ask("nvmlGpmMetricsGet", request) is None:
            self.close()
            return Activity()
        values = {metric: _value(request.metrics[place]) for place, metric in enumerate(_METRICS)}
        received, sent = values[_PCIE_RECEIVED], values[_PCIE_SENT]
        pcie = None if received is None or sent is None else (received * _MIB, sent * _MIB)
        return Activity(values[_SM], pcie)


def _value(metric: Any) -> float | None:
    """Each metric has an answer code of its own, and some answers are no number."""
    value = float(metric.value)
    return value if metric.nvmlReturn == 0 and math.isfinite(value) else None
