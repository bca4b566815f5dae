"""A step of ours beside everybody else's: short steps, long steps, memory, and what each callback costs."""

from __future__ import annotations

import os
from typing import Any

from tests.integration.endpoints import Service

from tests.bench.contenders import DEAD
from tests.bench.measure import Rows, in_turns, least, median, ratio
from tests.bench.tables import against, table

NAMES = {
    "raw_sliced": "raw loop, sliced batches, fused AdamW",
    "raw_loader": "raw loop, DataLoader, fused AdamW",
    "lightning_lean": "Lightning, nothing on, sliced batches, fused AdamW",
    "hugging_face": "Hugging Face Trainer, its defaults",
    "lightning_defaults": 'Lightning, its defaults and `self.log("loss", prog_bar=True)`',
    "ours": "ours, as it comes",
}
MOST = {"hugging_face": 0.60, "lightning_defaults": 0.35, "raw_sliced": 1.9}
REPORTS = ("gpu_info", "usage_report", "notification")
PARTS = ("progress", "best_checkpoint", "exact_resume", "auto_retry", "logger")


def peers(repeats: int, batches: int) -> str:
    """Steps as short as they get, where what stands around them shows most."""
    rows = in_turns({name: _request(name, batches) for name in NAMES}, repeats)
    shown = [
        [
            NAMES[name],
            f"{median(found, 'us'):.0f}",
            f"{least(found, 'us'):.0f}",
            f"{median(found, 'cpu_us'):.0f}",
            f"{median(found, 'peak_mib'):.0f}",
            f"{median(found, 'loss'):.3f}",
        ]
        for name, found in rows.items()
    ]
    heads = ["us a step", "median", "least", "CPU", "peak MiB", "loss after"]
    return f"{table(heads, shown)}\n\n{_ratios(rows)}"


def _ratios(rows: Rows) -> str:
    shown = [
        [
            f"ours / {NAMES[name]}",
            against(ratio(rows, "ours", name), most),
            f"{ratio(rows, 'ours', name, 'cpu_us'):.2f}",
        ]
        for name, most in MOST.items()
    ]
    memory = ratio(rows, "ours", "lightning_defaults", "peak_mib")
    shown.append(["peak memory, ours / Lightning, its defaults", against(memory, 1.05), ""])
    return table(["ratio", "by the wall", "by CPU time"], shown)


def long_steps(repeats: int, batches: int) -> str:
    """Steps of 20 ms, as a model of some size has them."""
    names = ("raw_sliced", "ours")
    rows = in_turns(
        {name: {**_request(name, batches, epochs=1), "step_seconds": 0.02} for name in names}, repeats
    )
    shown = [[NAMES[name], f"{median(rows[name], 'us') / 1000:.2f}"] for name in names]
    heads = ["ms a step of 20 ms", "median"]
    return f"{table(heads, [*shown, ['ours / raw loop', against(ratio(rows, 'ours', 'raw_sliced'), 1.02)]])}"


def parts(repeats: int, batches: int) -> str:
    """What each part adds to a step: everything on, less everything on but that part."""
    requests = {
        "all on": _request("ours", batches),
        **{part: _request("ours", batches, off=(part,)) for part in PARTS},
    }
    rows = in_turns(requests, repeats)
    whole = rows["all on"]
    shown = [
        [
            part,
            f"{median(whole, 'us') - median(rows[part], 'us'):+.0f}",
            f"{least(whole, 'cpu_us') - least(rows[part], 'cpu_us'):+.0f}",
        ]
        for part in PARTS
    ]
    return table(["us a step added by", "by the wall (median)", "by CPU time (least)"], shown)


def reports(repeats: int, batches: int) -> str:
    """What it adds to a step to watch, account and tell, with nobody answering at five addresses."""
    service = Service()
    os.environ.update(zip(DEAD, service.dead, strict=True))
    os.environ["NIMBLE_NOTIFICATION_LINGER"] = "0"
    requests = {"none": _request("ours", batches)}
    requests |= {name: _request("ours", batches, on=(name,)) for name in REPORTS}
    requests["all three"] = _request("ours", batches, on=REPORTS)
    try:
        rows = in_turns(requests, repeats)
    finally:
        service.close()
        for name in (*DEAD, "NIMBLE_NOTIFICATION_LINGER"):
            del os.environ[name]
    shown = [
        [
            name,
            f"{median(found, 'us') - median(rows['none'], 'us'):+.1f}",
            f"{least(found, 'us') - least(rows['none'], 'us'):+.1f}",
            f"{median(found, 'p99_us') - median(rows['none'], 'p99_us'):+.0f}",
        ]
        for name, found in rows.items()
    ]
    return table(["us a step added by", "median", "least", "to the slowest of a hundred"], shown)


def _request(
    name: str, batches: int, epochs: int = 5, off: tuple[str, ...] = (), on: tuple[str, ...] = ()
) -> dict[str, Any]:
    return {"name": name, "epochs": epochs, "batches": batches, "off": off, "on": on}
