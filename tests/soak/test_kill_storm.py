"""A thousand random kills, split over one rank and two, over as many runs as it takes."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "integration"))

from killing import bad_starts, digests, faults, job, run_and_kill  # noqa: E402

from nimble_lightning.checkpoint import newest_whole, stages  # noqa: E402
from nimble_lightning.runtime import supervise  # noqa: E402

pytestmark = pytest.mark.soak

KILLS_A_RUN = 25
LENGTH = {1: "lightning.max_epochs=70", 2: "lightning.max_epochs=90"}
SEEDS = {1: range(24), 2: range(100, 116)}
CASES = [(devices, seed) for devices, seeds in SEEDS.items() for seed in seeds]
DISK = ("enospc", "eio", "eperm", "erofs")


@pytest.fixture(scope="module", autouse=True)
def quiet_workers() -> Iterator[None]:
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"
    yield
    os.environ.pop("OMP_NUM_THREADS") if before is None else os.environ.update(OMP_NUM_THREADS=before)


@pytest.fixture(scope="module")
def untouched(tmp_path_factory: pytest.TempPathFactory) -> dict[int, dict[str, str]]:
    ends = {}
    for devices, length in LENGTH.items():
        folder = tmp_path_factory.mktemp("untouched")
        assert supervise(job(folder, length, devices=devices)).status == "finished"
        ends[devices] = digests(folder)
    return ends


def test_the_storm_has_a_thousand_kills() -> None:
    assert KILLS_A_RUN * len(CASES) == 1000


@pytest.mark.parametrize(("devices", "seed"), CASES)
def test_every_run_of_the_storm_ends_with_the_same_bits(
    tmp_path: Path, untouched: dict[int, dict[str, str]], devices: int, seed: int
) -> None:
    result, hits = run_and_kill(tmp_path, KILLS_A_RUN, seed, LENGTH[devices], devices=devices)
    assert (result.status, hits) == ("finished", KILLS_A_RUN), result.message
    assert bad_starts(tmp_path) == []
    assert digests(tmp_path) == untouched[devices]


@pytest.mark.parametrize("devices", [1, 2])
@pytest.mark.parametrize("step", [3, 30])
@pytest.mark.parametrize("stage", stages.STAGES)
@pytest.mark.parametrize("kind", ["kill", *DISK])
def test_a_fault_inside_a_save_costs_no_bit(
    tmp_path: Path, kind: str, stage: str, step: int, devices: int
) -> None:
    length = "lightning.max_epochs=6"
    plan = faults(f"{kind}@save={stage},step={step},attempt=1,rank=0")
    result = supervise(job(tmp_path / "hit", length, *plan, devices=devices))
    assert result.status == "finished", result.message
    assert newest_whole(tmp_path / "hit" / "checkpoints" / "steps") is not None
    supervise(job(tmp_path / "whole", length, devices=devices))
    assert digests(tmp_path / "hit") == digests(tmp_path / "whole")


@pytest.mark.parametrize("seed", range(20))
def test_a_fault_with_a_chance_of_a_fifth_in_each_attempt_is_survived(tmp_path: Path, seed: int) -> None:
    plan = [*faults("kill@step=9,p=0.2; raise@step=20,p=0.2"), f"+callbacks.faults.seed={seed}"]
    result = supervise(job(tmp_path, "lightning.max_epochs=3", *plan))
    assert result.status == "finished", result.message
    assert len(result.attempts) <= 6
