"""How long the command takes to answer, and the package to be imported."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

from tests.bench.measure import ROOT, environment

DIGITS = f"trainer={ROOT / 'examples' / 'digits.py'}"
COMMANDS = {
    "python itself": ["-c", "pass"],
    "import nimble_lightning": ["-c", "import nimble_lightning"],
    "--help": ["-m", "nimble_lightning", DIGITS, "--help"],
    "--cfg job": ["-m", "nimble_lightning", DIGITS, "--cfg", "job"],
    "a typo": ["-m", "nimble_lightning", DIGITS, "data.batchsize=64"],
}


def measure(repeats: int) -> dict[str, float]:
    """The median of seconds for each command, started in turns."""
    seconds: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(repeats):
        for name, words in COMMANDS.items():
            started = time.perf_counter()
            subprocess.run(
                [sys.executable, *words], cwd=ROOT, env=environment(), capture_output=True, check=False
            )
            seconds[name].append(time.perf_counter() - started)
    return {name: statistics.median(all_) for name, all_ in seconds.items()}
