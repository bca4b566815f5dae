"""A reading in a few words, for the line that shows progress."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


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
