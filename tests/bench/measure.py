"""Starting processes that measure, in turns, and what is left of their numbers."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
ONE_THREAD = {name: "1" for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}

Rows = dict[str, list[dict[str, float]]]


def in_turns(requests: Mapping[str, Mapping[str, Any]], repeats: int) -> Rows:
    """Every contender once, then every one again: what else the machine does meets all of them alike."""
    rows: Rows = {label: [] for label in requests}
    for turn in range(repeats):
        for label, request in requests.items():
            print(f"  {turn + 1}/{repeats} {label}", file=sys.stderr, flush=True)
            with tempfile.TemporaryDirectory() as folder:
                rows[label].append(ask("child", {**request, "folder": folder}))
    return rows


def ask(module: str, request: Mapping[str, Any]) -> Any:
    """What `python -m tests.bench.<module>` answers to a request, in a process with one thread."""
    words = [sys.executable, "-m", f"tests.bench.{module}", json.dumps(request)]
    done = subprocess.run(words, cwd=ROOT, env=environment(), capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{module} {json.dumps(request)} failed:\n{done.stderr[-4000:]}")
    return json.loads(done.stdout)


def environment() -> dict[str, str]:
    return {**os.environ, **ONE_THREAD, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}


def median(rows: Sequence[Mapping[str, float]], key: str) -> float:
    return statistics.median(row[key] for row in rows)


def least(rows: Sequence[Mapping[str, float]], key: str) -> float:
    return min(row[key] for row in rows)


def ratio(rows: Rows, one: str, other: str, key: str = "us") -> float:
    """The median over turns of one contender's figure to another's in the same turn."""
    pairs = zip(rows[one], rows[other], strict=True)
    return statistics.median(a[key] / b[key] for a, b in pairs)
