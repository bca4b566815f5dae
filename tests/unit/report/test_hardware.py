"""What the devices did, from the samples of all ranks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import report_cases as cases

from nimble_lightning.report.hardware import Samples


def sampled(folder: Path, rank: int, *devices: dict[str, Any]) -> Path:
    path = folder / f"gpu.{rank}.jsonl"
    cases.rows(path, *({"time": 10.0 + second, "devices": devices} for second in range(4)))
    return path


def gpu(index: int, load: float) -> dict[str, Any]:
    return {"index": index, "uuid": f"GPU-{index}", "utilization": load, "memory_total": 8e9 * (index + 1)}


def test_a_device_that_several_ranks_saw_is_drawn_once(tmp_path: Path) -> None:
    samples = Samples(began=10.0)
    samples.read(sampled(tmp_path, 0, gpu(1, 90.0), gpu(0, 10.0)))
    samples.read(sampled(tmp_path, 1, gpu(1, 50.0), gpu(2, 30.0)))
    lines = samples.lines("utilization")
    assert [line.name for line in lines] == ["GPU 1", "GPU 0", "GPU 2"]
    assert [sum(bucket.count for bucket in line.buckets) for line in lines] == [4, 4, 4]
    assert [{bucket.mean for bucket in line.buckets} for line in lines] == [{90.0}, {10.0}, {30.0}]
    assert [(line.buckets[0].first, line.buckets[-1].last) for line in lines] == [(0.0, 3.0)] * 3
    assert samples.total == 24e9, "the largest"
