"""Whether the kernel has killed processes of ours for want of memory."""

from __future__ import annotations

from pathlib import Path

_GROUPS = Path("/sys/fs/cgroup")


def kills(membership: Path = Path("/proc/self/cgroup"), groups: Path = _GROUPS) -> int:
    """How often the kernel has done so in this process's control group so far; compare before and after.

    Nothing readable counts as never, so that no kill is explained by a guess.
    """
    try:
        lines = membership.read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    files = [file for line in lines for file in _counters(line, groups)]
    return max((_count(file) for file in files), default=0)


def _counters(line: str, groups: Path) -> list[Path]:
    """The files that may count, for a line such as `0::/user.slice` or `4:memory:/docker/...`."""
    number, controllers, place = line.split(":", 2)
    inside = place.lstrip("/")
    if number == "0":
        return [groups / inside / "memory.events", groups / "memory.events"]
    if "memory" in controllers.split(","):
        return [groups / "memory" / inside / "memory.oom_control", groups / "memory" / "memory.oom_control"]
    return []


def _count(file: Path) -> int:
    try:
        words = [line.split() for line in file.read_text(encoding="ascii").splitlines()]
    except OSError:
        return 0
    return sum(int(word[1]) for word in words if len(word) == 2 and word[0] == "oom_kill")
