"""What saving costs and how soon a killed run goes on."""

from __future__ import annotations

import statistics
import tempfile

from tests.bench import commands
from tests.bench.measure import ask, median
from tests.bench.tables import against, table


def saves(repeats: int, mib: int) -> str:
    with tempfile.TemporaryDirectory() as folder:
        rows = ask("saves", {"folder": folder, "repeats": repeats, "mib": mib})
    plain, ours, stall = (median(rows, key) for key in ("plain", "ours", "stall"))
    paired = statistics.median(row["ours"] / row["plain"] for row in rows)
    shown = [
        ["torch.save and fsync", f"{plain * 1000:.0f}", ""],
        ["ours, whole or absent", f"{ours * 1000:.0f}", against(paired, 1.10)],
        [
            "ours, asynchronous: training waits",
            f"{stall * 1000:.0f}",
            f"{against(stall / ours, 0.15)} of ours",
        ],
    ]
    return table([f"ms to save {mib} MiB", "median", "ratio"], shown)


def kills(repeats: int) -> str:
    with tempfile.TemporaryDirectory() as folder:
        rows = ask("kills", {"folder": folder, "repeats": repeats})
    shown = [
        ["median", against(median(rows, "seconds"), 1.0)],
        ["longest", f"{max(row['seconds'] for row in rows):.2f}"],
    ]
    return table(["seconds from SIGKILL to the first new step, digits", f"of {repeats}"], shown)


def answers(repeats: int) -> str:
    found = commands.measure(repeats)
    shown = [[name, against(seconds, 0.5)] for name, seconds in found.items()]
    return table(["seconds until the command has answered", "median"], shown)
