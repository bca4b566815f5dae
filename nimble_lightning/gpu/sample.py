"""One moment of a device: as it goes into `gpu.jsonl`, in a few words, and as figures for loggers."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from nimble_lightning.gpu.activity import ActivityMeter
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
