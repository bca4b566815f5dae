"""The state a device is found in, and what of it costs money."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from nimble_lightning.gpu.device import Gpu
from nimble_lightning.gpu.sample import allocator

# A limit a little below the usual one is nobody's mistake.
_LOW_POWER = 0.95
_MOST_LINKS = 36
_SLOW = {
    "hardware_slowdown": "its hardware",
    "hardware_thermal": "heat",
    "software_thermal": "heat",
    "power_brake": "its power supply",
}


_CONTEXT_BYTES = 10**9


@dataclass(frozen=True)
class Pcie:
    """The link to the machine. Generations are saved on while a card is idle, lanes are not."""

    width: int
    widest: int
    generation: int


@dataclass(frozen=True)
class Condition:
    """A device at the start; what is unknown is None.

    Attributes:
        index: CUDA's number.
        is_slice: Whether it is a part of a card, under MIG.
        memory: Bytes used, by anybody, and in total.
        power_limit: Watts it is held to.
        default_power_limit: Watts it was built for.
        nvlinks: How many are up.
        throttle: Why it is slower than it could be.
        ecc_errors: Memory errors that could not be corrected.
        remap_pending: Whether bad memory waits for a reset.
        others: Processes that are not this run's.
    """

    index: int
    uuid: str
    name: str
    is_slice: bool
    memory: tuple[int, int] | None
    power_limit: float | None
    default_power_limit: float | None
    temperature: float | None
    pcie: Pcie | None
    nvlinks: int | None
    throttle: list[str] | None
    ecc_errors: int | None
    remap_pending: bool | None
    others: list[_Process]


def condition(gpu: Gpu, *, siblings: bool = False) -> Condition:
    """Look at a device; `siblings` as for `others`."""
    held, _ = allocator(gpu.index) or (0, 0)
    return Condition(
        index=gpu.index,
        uuid=gpu.uuid,
        name=gpu.name,
        is_slice=gpu.is_slice,
        memory=gpu.memory(),
        power_limit=gpu.power_limit_watts(),
        default_power_limit=gpu.default_power_limit_watts(),
        temperature=gpu.temperature(),
        pcie=_pcie(gpu),
        nvlinks=_nvlinks(gpu),
        throttle=gpu.throttle(),
        ecc_errors=gpu.ecc_errors(),
        remap_pending=gpu.remap_pending(),
        others=others(gpu, held=held, siblings=siblings),
    )


def concerns(found: Condition) -> list[str]:
    """What is worth a look before hours are paid for, a sentence each."""
    return [f"GPU {found.index} {text}" for text in _concerns(found)]


def _concerns(found: Condition) -> Iterator[str]:
    causes = sorted({_SLOW[reason] for reason in found.throttle or () if reason in _SLOW})
    if causes:
        yield f"is being slowed down by {' and '.join(causes)}"
    if found.ecc_errors:
        yield f"had {found.ecc_errors} memory errors that could not be corrected: results may be wrong"
    if found.remap_pending:
        yield "has bad memory that a reset would take out of use (row remapping pending)"
    if found.pcie is not None and found.pcie.width < found.pcie.widest:
        yield f"has a PCIe link of {found.pcie.width} lanes out of {found.pcie.widest}: data comes slowly"
    if found.is_slice:
        yield "is a slice of a card (MIG is on)"
    limit, usual = found.power_limit, found.default_power_limit
    if limit is not None and usual is not None and limit < _LOW_POWER * usual:
        yield f"is held to {limit:.0f} W out of {usual:.0f} W: it will be slower than others of its kind"
    for process in found.others:
        who = f"{process.name} ({process.pid})" if process.name else "a process outside this container"
        what = "memory" if process.memory is None else f"{process.memory / 1e9:.1f} GB"
        yield f"is shared: {who} holds {what} of it"


def _pcie(gpu: Gpu) -> Pcie | None:
    ask, card = gpu.nvml.ask, gpu.unit.card
    width, widest = ask("nvmlDeviceGetCurrPcieLinkWidth", card), ask("nvmlDeviceGetMaxPcieLinkWidth", card)
    generation = ask("nvmlDeviceGetMaxPcieLinkGeneration", card)
    return Pcie(width, widest, generation or 0) if width and widest else None


def _nvlinks(gpu: Gpu) -> int | None:
    up = 0
    for link in range(_MOST_LINKS):
        state = gpu.nvml.ask("nvmlDeviceGetNvLinkState", gpu.unit.card, link)
        if state is None:
            return up if link else None
        up += bool(state)
    return up


@dataclass(frozen=True)
class _Process:
    """A process that is not ours.

    Attributes:
        name: As the kernel calls it; "" for one outside this container.
        memory: Bytes it holds on the device; None when unknown.
    """

    pid: int
    name: str
    memory: int | None


def others(gpu: Gpu, *, held: int = 0, siblings: bool = False, proc: Path = Path("/proc")) -> list[_Process]:
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


def _foreign(running: list[object], held: int, siblings: bool, proc: Path) -> Iterator[_Process]:
    for entry in running:
        pid, memory = int(getattr(entry, "pid", 0)), getattr(entry, "usedGpuMemory", None)
        parent = _parent(proc / str(pid))
        if parent is None:
            # Seen from outside its container this very process has another number; it holds what it holds,
            # and a context.
            if memory is not None and memory > held + _CONTEXT_BYTES:
                yield _Process(pid, "", memory)
        elif not (pid == os.getpid() or parent == os.getpid() or (siblings and parent == os.getppid())):
            yield _Process(pid, _name(proc / str(pid)), memory)


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
