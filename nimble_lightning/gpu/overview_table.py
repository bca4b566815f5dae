"""An overview as a table for people."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from nimble_lightning.gpu.condition import Condition
from nimble_lightning.gpu.overview import Overview, summary

_PLAIN_COLUMNS = 110


def show(overview: Overview, console: Console) -> None:
    """Print it; where there is no terminal, wide enough that nothing is folded."""
    if not console.is_terminal:
        console = Console(file=console.file, width=_PLAIN_COLUMNS)
    if not overview.devices:
        missing = f"no GPU in use ({overview.missing})"
        console.print(Text(", ".join([missing, *_host(overview)])), soft_wrap=True)
        return
    console.print(_table(overview))
    console.print(Text(", ".join([*_links(overview), *_host(overview)])), soft_wrap=True)
    for warning in overview.warnings:
        console.print(Text(f"! {warning}", style="yellow"), soft_wrap=True)


def _table(overview: Overview) -> Table:
    title = f"driver {overview.driver or 'unknown'}, CUDA {overview.cuda or 'unknown'}"
    table = Table("GPU", box=box.SIMPLE, title=title, title_justify="left", pad_edge=False)
    table.add_column("name", overflow="fold")
    for name in ("memory used", "power limit", "heat", "PCIe", "NVLinks"):
        table.add_column(name, justify="right", no_wrap=True)
    for device in overview.devices:
        table.add_row(*(Text(cell) for cell in _row(device)))
    return table


def _row(device: Condition) -> list[str]:
    memory, pcie, links = device.memory, device.pcie, device.nvlinks
    return [
        str(device.index),
        device.name + (" (slice)" if device.is_slice else ""),
        "?" if memory is None else f"{memory[0] / 1e9:.1f} of {memory[1] / 1e9:.1f} GB",
        "?" if device.power_limit is None else f"{device.power_limit:.0f} W",
        "?" if device.temperature is None else f"{device.temperature:.0f} °C",
        "?"
        if pcie is None
        else f"gen {pcie.generation} x{pcie.width}"
        if pcie.generation
        else f"x{pcie.width}",
        "-" if not links else str(links),
    ]


def _links(overview: Overview) -> list[str]:
    return [f"linked by {summary(overview.links)}"] if overview.links else []


def _host(overview: Overview) -> list[str]:
    host = overview.host
    used, total, free = host["ram_used"], host["ram_total"], host["disk_free"]
    memory = [] if used is None or total is None else [f"RAM {used / 1e9:.1f} of {total / 1e9:.1f} GB used"]
    return memory if free is None else [*memory, f"disk {free / 1e9:.0f} GB free"]
