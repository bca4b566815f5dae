"""One contender, in a process of its own: `python -m tests.bench.child '{"name": ..., ...}'`."""

from __future__ import annotations

import json
import os
import re
import sys
import warnings
from pathlib import Path
from typing import Any


def main(request: dict[str, Any]) -> dict[str, float]:
    """Train as asked and say how long it took, how well it learned and how much memory it needed."""
    import torch

    from tests.bench.contenders import CONTENDERS, Asked
    from tests.bench.task import final_loss

    torch.set_num_threads(1)
    torch.manual_seed(0)
    name = request.pop("name")
    asked = Asked(**{**request, "off": tuple(request.get("off", ())), "on": tuple(request.get("on", ()))})
    clock, model, steps = CONTENDERS[name](asked)
    peak = peak_mib()
    if steps != asked.steps:
        raise RuntimeError(f"{name} made {steps} steps instead of {asked.steps}")
    per_step = 1e6 / steps
    return {
        "us": clock.wall * per_step,
        "cpu_us": clock.cpu * per_step,
        "loss": final_loss(model),
        "peak_mib": peak,
        "p99_us": slowest(clock.steps),
    }


def slowest(ends: list[float]) -> float:
    """What one step in a hundred takes longer than; not known of contenders without Lightning's loop."""
    took = sorted(after - before for before, after in zip(ends, ends[1:], strict=False))
    return 1e6 * took[int(len(took) * 0.99)] if took else float("nan")


def peak_mib() -> float:
    """The most memory this process had; unlike getrusage, without what its parent had before."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(found.group(1)) / 1024 if found else float("nan")


def answer_with(function: Any) -> None:
    """Call with the request from the command line; the answer is the only thing on standard output."""
    warnings.simplefilter("ignore")
    answer = os.fdopen(os.dup(1), "w")
    # Bars and lines go where a batch job's go: into something that is not a terminal.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    json.dump(function(json.loads(sys.argv[1])), answer)
    answer.close()


if __name__ == "__main__":
    answer_with(main)
