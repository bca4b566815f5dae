"""One moment of a device, as it goes into `gpu.jsonl`."""

from __future__ import annotations

import sys
from typing import Any

from nimble_lightning.gpu.activity import ActivityMeter
from nimble_lightning.gpu.device import Gpu
from nimble_lightning.gpu.visible_devices import cuda_is_up


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
