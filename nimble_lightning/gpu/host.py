"""What the machine and this process do, from what the kernel tells; what it does not tell is None."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

# Of the control group a container runs in, newer kernels and older ones.
_GROUP_FILES = (
    ("memory.max", "memory.current", "memory.stat", "inactive_file"),
    (
        "memory/memory.limit_in_bytes",
        "memory/memory.usage_in_bytes",
        "memory/memory.stat",
        "total_inactive_file",
    ),
)
_IDLE = slice(3, 5)
_COUNTED = slice(0, 8)


class Host:
    """Reads the machine again and again; shares of time are those since the reading before.

    Args:
        folder: Whose disk counts.
        proc: The kernel's files.
        groups: The control groups' files.
    """

    def __init__(
        self, folder: Path, proc: Path = Path("/proc"), groups: Path = Path("/sys/fs/cgroup")
    ) -> None:
        self._folder = folder
        self._proc = proc
        self._groups = groups
        self._times: tuple[float, float] | None = None
        self._own: tuple[float, float] | None = None

    def read(self) -> dict[str, Any]:
        """Per cent of all cores, per cent of one core used by this process, and bytes."""
        used, total = self._memory()
        return {
            "cpu": self._cpu(),
            "process_cpu": self._process_cpu(),
            "ram_used": used,
            "ram_total": total,
            "process_rss": self._resident(),
            "disk_free": self._disk(),
        }

    def _cpu(self) -> float | None:
        words = _text(self._proc / "stat").partition("\n")[0].split()[1:]
        if len(words) < _IDLE.stop:
            return None
        # The last columns, time given to guests, are contained in the first ones.
        times = [float(word) for word in words[_COUNTED]]
        now = sum(times), sum(times[_IDLE])
        before, self._times = self._times, now
        return None if before is None else _share(now[0] - now[1] - before[0] + before[1], now[0] - before[0])

    def _process_cpu(self) -> float | None:
        now = time.process_time(), time.monotonic()
        before, self._own = self._own, now
        return None if before is None else _share(now[0] - before[0], now[1] - before[1])

    def _memory(self) -> tuple[int | None, int | None]:
        lines = [line.split() for line in _text(self._proc / "meminfo").splitlines()]
        sizes = {words[0]: int(words[1]) * 1024 for words in lines if len(words) > 1}
        total, available = sizes.get("MemTotal:"), sizes.get("MemAvailable:")
        used = None if total is None or available is None else total - available
        limit = self._limit()
        # A container is ended at its own limit, however much the machine has.
        return limit if limit is not None and (total is None or limit[1] < total) else (used, total)

    def _limit(self) -> tuple[int, int] | None:
        for limit_file, used_file, stat_file, cache in _GROUP_FILES:
            limit, used = (_text(self._groups / name).strip() for name in (limit_file, used_file))
            if limit.isdigit() and used.isdigit():
                stat = dict(line.split(maxsplit=1) for line in _text(self._groups / stat_file).splitlines())
                # What the kernel would drop at once is not in the way of anybody.
                return int(used) - int(stat.get(cache, 0)), int(limit)
        return None

    def _resident(self) -> int | None:
        words = _text(self._proc / "self" / "statm").split()
        return int(words[1]) * os.sysconf("SC_PAGE_SIZE") if len(words) > 1 else None

    def _disk(self) -> int | None:
        try:
            disk = os.statvfs(self._folder)
        except OSError:
            return None
        return disk.f_bavail * disk.f_frsize


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""


def _share(part: float, whole: float) -> float | None:
    return round(100 * max(part, 0.0) / whole, 1) if whole > 0 else None
