"""A look as figures for loggers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

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
