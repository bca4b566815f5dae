"""A run of a million logged steps has a page that can be mailed, in seconds, in memory that does not grow."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bench.pages import generate

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.soak


def measured(folder: Path) -> dict[str, float]:
    command = [sys.executable, "-m", "tests.bench.pages", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)  # type: ignore[no-any-return]


def test_a_million_steps_take_seconds_and_hardly_more_memory_than_ten_thousand(tmp_path: Path) -> None:
    short = measured(generate(tmp_path / "short", 10_000))
    folder = generate(tmp_path / "long")
    long = min((measured(folder) for _ in range(3)), key=lambda m: m["cpu_seconds"])
    # On a machine that does nothing else, the time on the clock.
    assert long["cpu_seconds"] <= 3
    assert long["megabytes"] <= 2
    assert long["memory_mib"] <= short["memory_mib"] + 8
