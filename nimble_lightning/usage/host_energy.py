"""What the processor and the memory take: measured where the machine tells, estimated from what is used."""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Iterator
from pathlib import Path

POWERCAP = Path("/sys/class/powercap")
# Server processors are built for 4 to 6 W a core all told, desktop ones for 8 and more.
WATTS_A_CORE = 6.0
# Memory modules of 8 GB take about 3 W, busy or not.
WATTS_A_GIB = 0.375
_PAGE = os.sysconf("SC_PAGE_SIZE")
_TICKS = os.sysconf("SC_CLK_TCK")


class Rapl:
    """The energy counters of the machine's processors; they count everybody's work.

    Args:
        root: Where the kernel shows them. Many systems let only root read them: then there are none.
        mine: Whether this process is the one of its machine that counts them.
    """

    def __init__(self, root: Path = POWERCAP, *, mine: bool = True) -> None:
        self._mine = mine
        zones = sorted(root.glob("intel-rapl:?")) + sorted(root.glob("intel-rapl:??"))
        self._zones = [zone for zone in zones if _number(zone / "energy_uj") is not None]
        self._last = {zone: _number(zone / "energy_uj") or 0 for zone in self._zones}

    @property
    def readable(self) -> bool:
        return bool(self._zones)

    def joules(self) -> float:
        """Since the last time this was asked."""
        spent = 0
        for zone in self._zones:
            if (now := _number(zone / "energy_uj")) is None:
                continue
            difference = now - self._last[zone]
            if difference < 0:
                # Counters start again from zero.
                difference += _number(zone / "max_energy_range_uj") or -difference
            spent, self._last[zone] = spent + difference, now
        return spent / 1e6 if self._mine else 0.0


def busy_seconds() -> float:
    """Seconds of one core that this process and its children (the loaders) have used."""
    own = os.times()
    return own.user + own.system + own.children_user + own.children_system + sum(_of_children())


def memory_used() -> int:
    """Bytes of memory this process holds."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE
    except (OSError, ValueError, IndexError):
        return memory_peak()


def memory_peak() -> int:
    """The most bytes this process ever held."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def process_age() -> float:
    """Seconds since this process was started; 0 where the system does not tell."""
    try:
        ticks = float(_after_name(Path("/proc/self/stat"))[19])
        uptime = float(Path("/proc/uptime").read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return 0.0
    return max(0.0, uptime - ticks / _TICKS)


def processor() -> str:
    """The name of the processor, as far as the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "")


def memory_total() -> int:
    """The memory of the machine, in bytes."""
    return os.sysconf("SC_PHYS_PAGES") * _PAGE


def _of_children() -> Iterator[float]:
    for task in Path("/proc/self/task").glob("*/children"):
        try:
            pids = task.read_text().split()
        except OSError:
            continue
        for pid in pids:
            try:
                words = _after_name(Path(f"/proc/{pid}/stat"))
                yield (float(words[11]) + float(words[12])) / _TICKS
            except (OSError, ValueError, IndexError):
                continue


def _after_name(stat: Path) -> list[str]:
    """The fields after the name, which may hold spaces and brackets itself."""
    return stat.read_text().rpartition(")")[2].split()


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None
