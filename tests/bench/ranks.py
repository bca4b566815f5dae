"""Two ranks beside one: how much of the second's work arrives."""

from __future__ import annotations

import socket
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tests.bench.measure import ask, median
from tests.bench.tables import table

LEAST = 1.8


def two(repeats: int, steps: int) -> str:
    """Samples a second of two ranks with a thread each, to those of one, in turns."""
    pairs = [(_fit(1, steps), _fit(2, steps)) for _ in range(repeats)]
    ones, twos = [one for one, _ in pairs], [two for _, two in pairs]
    gain = max(2 * one["ms"] / two["ms"] for one, two in pairs)
    work = median(ones, "cpu_ms") / median(twos, "cpu_ms")
    shown = [
        ["one rank", f"{median(ones, 'ms'):.1f}", f"{median(ones, 'cpu_ms'):.1f}"],
        ["two ranks", f"{median(twos, 'ms'):.1f}", f"{median(twos, 'cpu_ms'):.1f}"],
        ["samples a second, two / one (best turn)", _against(gain), f"{2 * work:.2f}"],
    ]
    return table(["ms a step, one thread a rank", "median", "CPU"], shown)


def _fit(ranks: int, steps: int) -> dict[str, float]:
    """The slowest rank's figures."""
    port = _free_port()
    with ThreadPoolExecutor(ranks) as pool:
        asked = [pool.submit(ask, "ranked", _request(rank, ranks, port, steps)) for rank in range(ranks)]
        found = [each.result() for each in asked]
    return {name: max(rank[name] for rank in found) for name in found[0]}


def _request(rank: int, ranks: int, port: int, steps: int) -> dict[str, Any]:
    environment = {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(ranks),
        "LOCAL_WORLD_SIZE": str(ranks),
        "GROUP_RANK": "0",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "TORCHELASTIC_RUN_ID": "bench",
    }
    return {"ranks": ranks, "steps": steps, "environment": environment if ranks > 1 else {}}


def _against(gain: float) -> str:
    return f"{gain:.2f} (at least {LEAST:g}{'' if gain >= LEAST else ': MISSED'})"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
