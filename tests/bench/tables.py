"""Results as Markdown, ready for the README."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

_SHOWN = ("torch", "lightning", "transformers", "nimble_lightning")


def machine() -> str:
    """What ran it: processor, load and versions."""
    found = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in _SHOWN)
    return (
        f"{found.group(1) if found else platform.machine()}, {os.cpu_count()} cores, one thread used, "
        f"load {os.getloadavg()[0]:.1f} at the end; Python {platform.python_version()}, {versions}"
    )


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns after the first are aligned to the right."""
    widths = [max(len(row[i]) for row in [heads, *rows]) for i in range(len(heads))]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    lines = [
        [
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        for row in [heads, rule, *rows]
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def against(figure: float, most: float) -> str:
    """A figure beside what it must not exceed."""
    return f"{figure:.2f} (at most {most:g}{'' if figure <= most else ': MISSED'})"
