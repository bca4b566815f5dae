"""Two ranks beside one: how much of the second's work arrives."""

from __future__ import annotations

import socket
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tests.bench.measure import ask, median
from tests.bench.tables import table

LEAST = 1.8


def two(repeats: int, steps: int) -> str:
    """Samples a second of two ranks with a thread each, to those of one, in turns; and to those of two
    programs that know nothing of each other, which is all the machine can give."""
    turns = [(_fit(1, steps), _apart(steps), _fit(2, steps)) for _ in range(repeats)]
    ones, aparts, twos = zip(*turns, strict=True)
    gain = max(2 * one["ms"] / two["ms"] for one, _, two in turns)
    most = max(2 * one["ms"] / apart["ms"] for one, apart, _ in turns)
    rows = {"one rank": ones, "two programs at once": aparts, "two ranks": twos}
    shown = [
        [name, f"{median(list(found), 'ms'):.1f}", f"{median(list(found), 'cpu_ms'):.1f}"]
        for name, found in rows.items()
    ]
    shown.append(["two ranks / one, samples a second", _against(gain), ""])
    shown.append(["two programs / one", f"{most:.2f}", ""])
    return table(["ms a step, one thread a rank", "median", "CPU"], shown)


def _fit(ranks: int, steps: int) -> dict[str, float]:
    """The slowest rank's figures."""
    port = _free_port()
    return _slowest([_request(rank, ranks, port, steps) for rank in range(ranks)])


def _apart(steps: int) -> dict[str, float]:
    """The same of two that are one rank each."""
    return _slowest([_request(0, 1, 0, steps)] * 2)


def _slowest(requests: list[dict[str, Any]]) -> dict[str, float]:
    with ThreadPoolExecutor(len(requests)) as pool:
        asked = [pool.submit(ask, "ranked", request) for request in requests]
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
