"""What the devices did, out of the samples of GPU information."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from nimble_lightning.ops import plain_files
from nimble_lightning.report import quantities
from nimble_lightning.report.charts.plot import Across, Line, Mark, Plot
from nimble_lightning.report.charts.scale import TIMES
from nimble_lightning.report.curves import parsed
from nimble_lightning.report.downsample import Downsampled

_AT_ONCE = 1000
_BUCKETS = 240
_MOST_DEVICES = 8


class Samples:
    """The samples of all ranks, thinned as they are read.

    Args:
        began: The moment that is 0 on the page, in seconds since the epoch.
    """

    def __init__(self, began: float) -> None:
        self.names: dict[str, str] = {}
        self.total = 0.0
        self.ram = 0.0
        self._began = began
        self._owners: dict[str, Path] = {}
        self._host: Path | None = None
        self._thinned: dict[tuple[str, str], Downsampled] = {}

    def read(self, path: Path) -> None:
        """Add the samples of one rank. A device that several ranks saw is taken from the first."""
        for rows in _rows(path):
            columns: dict[tuple[str, str], tuple[list[float], list[float]]] = {}
            for row in rows:
                for key, value in self._values(row, path):
                    times, values = columns.setdefault(key, ([], []))
                    times.append(row["time"] - self._began)
                    values.append(value)
            for key, (times, values) in columns.items():
                self._thinned.setdefault(key, Downsampled(_BUCKETS)).extend(times, values)

    def lines(self, field: str) -> list[Line]:
        """One curve a device that knows this figure."""
        found = [(device, thinned) for (device, name), thinned in self._thinned.items() if name == field]
        return [
            Line(self.names[device], thinned.buckets, colour)
            for colour, (device, thinned) in enumerate(found[:_MOST_DEVICES])
        ]

    def _values(self, row: Mapping[str, Any], path: Path) -> Iterator[tuple[tuple[str, str], float]]:
        for device in row.get("devices") or ():
            uuid = str(device.get("uuid") or device.get("index"))
            if self._owners.setdefault(uuid, path) != path:
                continue
            if uuid not in self.names:
                self.names[uuid] = f"GPU {device.get('index', len(self.names))}"
            self.total = max(self.total, _number(device.get("memory_total")) or 0.0)
            yield from _fields(uuid, device, ("utilization", "memory_used", "power", "temperature"))
        if self._host in (None, path) and isinstance(host := row.get("host"), Mapping):
            self._host = path
            self.names["host"] = "host"
            self.ram = max(self.ram, _number(host.get("ram_total")) or 0.0)
            yield from _fields("host", host, ("cpu", "ram_used"))


def plots(paths: Sequence[Path], began: float, marks: Sequence[Mark]) -> tuple[list[Plot], list[str]]:
    """The charts, and the names of the devices."""
    samples = Samples(began)
    for path in paths:
        samples.read(path)
    charts: list[tuple[str, str, Callable[[float], str], float | None]] = [
        ("utilization", "GPU load", _percent, 100.0),
        ("memory_used", "GPU memory", quantities.size, samples.total or None),
        ("power", "Power", _watts, None),
        ("temperature", "Temperature", _degrees, None),
        ("cpu", "CPU load", _percent, 100.0),
        ("ram_used", "Host memory", quantities.size, samples.ram or None),
    ]
    across = Across("after", quantities.duration, TIMES)
    drawn = [
        Plot(title, lines, marks, across, label, False, top)
        for field, title, label, top in charts
        if (lines := samples.lines(field))
    ]
    return drawn, list(samples.names.values())


def _fields(
    device: str, facts: Mapping[str, Any], names: Sequence[str]
) -> Iterator[tuple[tuple[str, str], float]]:
    for name in names:
        if (value := _number(facts.get(name))) is not None:
            yield (device, name), value


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _rows(path: Path) -> Iterator[list[dict[str, Any]]]:
    with plain_files.open_plain(path) as file:
        lines = plain_files.lines(file)
        while some := list(islice(lines, _AT_ONCE)):
            whole = [line for line in some if line.endswith(b"\n") and not line.isspace()]
            yield [row for row in parsed(whole) if _number(row.get("time")) is not None]


def _percent(value: float) -> str:
    return f"{quantities.number(value, 3)} %"


def _watts(value: float) -> str:
    return f"{quantities.number(value, 3)} W"


def _degrees(value: float) -> str:
    return f"{quantities.number(value, 3)} °C"
