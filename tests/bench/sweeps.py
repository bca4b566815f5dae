"""A sweep of short members beside their own time, and beside a loop in a shell."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from textwrap import dedent

from tests.bench.measure import environment
from tests.bench.tables import against, table

AT_ONCE = 2
SECONDS = 2.0
_STEPS = 20
_TRAINER = f"""
import time
import torch
from nimble_lightning import NimbleTrainer

class Waiting(NimbleTrainer):
    def pre_process(self, *, lr: float = 1e-3):
        self.lr = lr
        x = torch.randn({4 * _STEPS}, 1)
        self.train_data, self.eval_data = (x, x), (x[:4], x[:4])
        self.model = torch.nn.Linear(1, 1)

    def train(self, batch):
        time.sleep({SECONDS / _STEPS})
        return (self.model(batch[0]) - batch[1]).square().mean()

    def evaluate(self, batch):
        return {{"loss": (self.model(batch[0]) - batch[1]).square().mean()}}
"""
_SETTINGS = ["trainer=waiting.py", "data.batch_size=4", "lightning.max_epochs=1", "lightning.accelerator=cpu"]


def measure(repeats: int, members: int) -> str:
    """Each repeat is a sweep and then a loop, so that what else the machine does meets both."""
    rows = []
    for turn in range(repeats):
        print(f"  {turn + 1}/{repeats} a sweep of {members} members, and a loop", file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "waiting.py").write_text(dedent(_TRAINER))
            rates = [repr(1e-3 * (1 + number)) for number in range(members)]
            swept = _took(folder, "-m", f"params.lr={','.join(rates)}", f"launch.jobs={AT_ONCE}")
            own = _own_time(folder) / AT_ONCE
            rows.append((swept, own, sum(_took(folder, f"params.lr={rate}") for rate in rates)))
    sweep, own, loop = (statistics.median(column) for column in zip(*rows, strict=True))
    asleep = members * SECONDS / AT_ONCE
    shown = [
        [f"{AT_ONCE} at once", f"{sweep:.1f}", f"{against(sweep / asleep, 1.25)} of what they sleep"],
        ["as they took themselves", f"{own:.1f}", f"{against(sweep / own, 1.25)} of their own time"],
        ["a loop of commands", f"{loop:.1f}", f"{against(sweep / loop, 0.35)} of the loop"],
    ]
    return table([f"seconds for {members} members of {SECONDS:g} s", "median", "ratio"], shown)


def _own_time(folder: str) -> float:
    """What the members of a sweep took from the start of their workers to the end, each by itself."""
    records = [json.loads(path.read_text()) for path in Path(folder).glob("outputs/*/*/*/run.json")]
    return sum(attempt["end"] - attempt["start"] for record in records for attempt in record["attempts"])


def _took(folder: str, *words: str) -> float:
    started = time.perf_counter()
    command = [sys.executable, "-m", "nimble_lightning", *_SETTINGS, *words]
    subprocess.run(command, cwd=folder, env=environment(), capture_output=True, check=True)
    return time.perf_counter() - started
