"""One moment of a device: as it goes into `gpu.jsonl`, in a few words, and as figures for loggers."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nimble_lightning.gpu.device import Gpu
from nimble_lightning.gpu.visible_devices import cuda_is_up

_OF_A_DEVICE = (
    "utilization",
    "sm_active",
    "memory_used",
    "torch_reserved",
    "power",
    "temperature",
    "sm_clock",
    "pcie_rx",
    "pcie_tx",
)
_OF_THE_HOST = ("cpu", "process_cpu", "ram_used", "process_rss")


# Numbers of NVML's metrics.
_SM, _PCIE_SENT, _PCIE_RECEIVED = 2, 20, 21
_METRICS = (_SM, _PCIE_SENT, _PCIE_RECEIVED)
_MIB = 2.0**20


class SampleReader:
    """Reads a device again and again; what is not known is None."""

    def __init__(self, gpu: Gpu) -> None:
        self.gpu = gpu
        self._activity = ActivityMeter(gpu)

    def read(self) -> dict[str, Any]:
        """Percentages, bytes, watts, joules, degrees Celsius, MHz and bytes a second, by their names."""
        gpu = self.gpu
        activity = self._activity.look()
        used, total = gpu.memory() or (None, None)
        # Performance monitoring has it for nothing; asked for by itself it takes 40 ms.
        received, transmitted = activity.pcie or gpu.pcie_traffic() or (None, None)
        reserved, peak = allocator(gpu.index) or (None, None)
        return {
            "index": gpu.index,
            "uuid": gpu.uuid,
            "name": gpu.name,
            "utilization": gpu.utilization(),
            "sm_active": _rounded(activity.sm_active),
            "memory_used": used,
            "memory_total": total,
            "torch_reserved": reserved,
            "torch_peak": peak,
            "power": gpu.power_watts(),
            "energy": gpu.energy_joules(),
            "temperature": gpu.temperature(),
            "sm_clock": gpu.sm_clock(),
            "throttle": gpu.throttle(),
            "pcie_rx": _rounded(received),
            "pcie_tx": _rounded(transmitted),
            "ecc_errors": gpu.ecc_errors(),
            "remap_pending": gpu.remap_pending(),
        }

    def close(self) -> None:
        """Give the driver back what reading needed."""
        self._activity.close()


def allocator(index: int) -> tuple[int, int] | None:
    """Bytes torch's allocator holds of a device, and the most it has held.

    None unless this process uses CUDA already: asking must not be what starts it.
    """
    if not cuda_is_up():
        return None
    try:
        held = sys.modules["torch"].cuda.memory_stats_as_nested_dict(index)["reserved_bytes"]["all"]
    except (RuntimeError, KeyError, AssertionError):
        # After an error on the device nothing can be asked any more; other allocators count differently.
        return None
    return int(held["current"]), int(held["peak"])


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)


def brief(devices: Sequence[Mapping[str, Any]], host: Mapping[str, Any] | None) -> str:
    """`GPU 93 % 71 °C 40.2/80.0 GB`; of several devices the mean, the hottest and the sum.

    Without a device it is what the machine does.
    """
    if not devices:
        return _host(host or {})
    name = "GPU" if len(devices) == 1 else f"{len(devices)} GPUs"
    busy, heat = _known(devices, "utilization"), _known(devices, "temperature")
    used, total = _known(devices, "memory_used"), _known(devices, "memory_total")
    parts = [
        f"{sum(busy) / len(busy):.0f} %" if busy else "",
        f"{max(heat):.0f} °C" if heat else "",
        f"{sum(used) / 1e9:.1f}/{sum(total) / 1e9:.1f} GB" if used and total else "",
    ]
    return " ".join([name, *filter(None, parts)]) if any(parts) else ""


def _host(host: Mapping[str, Any]) -> str:
    cpu, used, total = (host.get(key) for key in ("cpu", "ram_used", "ram_total"))
    parts = [
        f"CPU {cpu:.0f} %" if cpu is not None else "",
        f"RAM {used / 1e9:.1f}/{total / 1e9:.1f} GB" if used is not None and total is not None else "",
    ]
    return " ".join(filter(None, parts))


def _known(devices: Sequence[Mapping[str, Any]], key: str) -> list[float]:
    return [device[key] for device in devices if device.get(key) is not None]


def metrics(sample: Mapping[str, Any]) -> dict[str, float]:
    """What is known, by names such as `gpu/0/power`, in the units of `gpu.jsonl`."""
    named = {
        f"gpu/{device['index']}/{key}": device.get(key)
        for device in sample["devices"]
        for key in _OF_A_DEVICE
    }
    host = sample.get("host") or {}
    named |= {f"host/{key}": host.get(key) for key in _OF_THE_HOST}
    return {name: float(value) for name, value in named.items() if value is not None}


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
