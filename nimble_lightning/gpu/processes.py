"""Who else computes on a device."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from nimble_lightning.gpu.device import Gpu

_CONTEXT_BYTES = 10**9


@dataclass(frozen=True)
class Process:
    """A process that is not ours.

    Attributes:
        name: As the kernel calls it; "" for one outside this container.
        memory: Bytes it holds on the device; None when unknown.
    """

    pid: int
    name: str
    memory: int | None


def others(gpu: Gpu, *, held: int = 0, siblings: bool = False, proc: Path = Path("/proc")) -> list[Process]:
    """The processes on a device that do not belong to this run.

    Args:
        gpu: The device.
        held: Bytes this process has taken of it.
        siblings: Whether children of the same parent are ranks of the same run.
        proc: The kernel's files.
    """
    running = gpu.nvml.ask("nvmlDeviceGetComputeRunningProcesses", gpu.unit.handle)
    if running is None:
        running = gpu.nvml.ask("nvmlDeviceGetComputeRunningProcesses_v2", gpu.unit.handle)
    return list(_foreign(running or [], held, siblings, proc))


def _foreign(running: list[object], held: int, siblings: bool, proc: Path) -> Iterator[Process]:
    for entry in running:
        pid, memory = int(getattr(entry, "pid", 0)), getattr(entry, "usedGpuMemory", None)
        parent = _parent(proc / str(pid))
        if parent is None:
            # Seen from outside its container this very process has another number; it holds what it holds,
            # and a context.
            if memory is not None and memory > held + _CONTEXT_BYTES:
                yield Process(pid, "", memory)
        elif not (pid == os.getpid() or parent == os.getpid() or (siblings and parent == os.getppid())):
            yield Process(pid, _name(proc / str(pid)), memory)


def _parent(process: Path) -> int | None:
    try:
        status = (process / "status").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    found = [line.split()[1] for line in status.splitlines() if line.startswith("PPid:")]
    return int(found[0]) if found else None


def _name(process: Path) -> str:
    try:
        return (process / "comm").read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return "a process"
