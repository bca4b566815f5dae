"""A thousand random kills of any process of a run, resumed until it ends: no bit is lost, nothing is left.

`SOAK_KILLS=N` makes it so many; `pytest -n 2` shares them out.
"""

from __future__ import annotations

import os
import random
import secrets
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import loader_trainer
import psutil
import pytest
from external_launchers import until
from forked_command import Command
from killed_runs import digest, digests, faults, job, newest_step, settings
from leftovers import CANARY, having, parent_of, told

from nimble_lightning.checkpoint import fault_points, newest_whole
from nimble_lightning.launch.start import start
from nimble_lightning.ops.run_files import read_json

pytestmark = pytest.mark.soak

KILLS = int(os.environ.get("SOAK_KILLS", "1000"))
# At least, however fast it is; a run is shot at from its beginning to its end.
KILLS_A_RUN = 30
# Whole epochs, also for two ranks.
STEPS = 204
# One run in three has two ranks.
CASES = [(2 if seed % 3 == 2 else 1, seed) for seed in range(-(-KILLS // KILLS_A_RUN))]
DISK = ("enospc", "eio", "eperm", "erofs")
FOLDER = Path("outputs/tiny/test")
# How long each step takes, so that there is something to hit, and loading processes, pages and a sender.
SETTINGS = [
    f"trainer={loader_trainer.__file__}:Loaded",
    "name=tiny",
    "params.step_seconds=0.02",
    f"lightning.max_steps={STEPS}",
    "data.num_workers=1",
    "callbacks=[default,notification]",
]
MOST_SECONDS = 1800.0


@pytest.fixture(scope="module", autouse=True)
def quiet_workers() -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(OMP_NUM_THREADS="1", NIMBLE_NOTIFICATION_LINGER="0.5")
    # Nobody is there.
    os.environ["NIMBLE_NOTIFICATION_URLS"] = "json://127.0.0.1:9"
    # The server of this process is started with it, and so is all that comes from there.
    os.environ[CANARY] = secrets.token_hex(8)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="module")
def untouched(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], dict[str, str]]:
    ends: dict[int, dict[str, str]] = {}

    def digests_of(devices: int) -> dict[str, str]:
        if devices not in ends:
            os.chdir(tmp_path_factory.mktemp("untouched"))
            Command(*settings(devices), *SETTINGS).end_with(0)
            ends[devices] = figures()
        return ends[devices]

    return digests_of


def figures() -> dict[str, str]:
    """Everything a run has come to that does not depend on the time it took."""
    record = read_json(FOLDER / "run.json")
    timeless = {k: v for k, v in record["metrics"].items() if "_per_second" not in k and "runtime" not in k}
    best = Path(record["best_checkpoint"]).name
    return {**digests(FOLDER), "metrics": digest(timeless), "best": best}


def kinds(command: Command) -> dict[str, list[psutil.Process]]:
    """All processes of a run, by what they are."""
    processes = {p.pid: p for p in having(os.environ[CANARY])}
    above = {pid: parent_of(p) for pid, p in processes.items()}
    found: dict[str, list[psutil.Process]] = defaultdict(list)

    def is_server(pid: int) -> bool:
        return pid != command.pid and above[pid] in (os.getpid(), command.pid)

    for pid, process in processes.items():
        words, depth, top = told(process), 0, pid
        while top in above and not is_server(top):
            depth, top = depth + 1, above[top]
        if "resource_tracker" in words:
            found["tracker"].append(process)
        elif "notifications.sender" in words:
            found["sender"].append(process)
        elif pid == command.pid:
            found["supervisor"].append(process)
        else:
            found[("server", "parent", "worker")[depth] if depth < 3 else "loader"].append(process)
    return found


class Storm:
    """Kills one process after another at random moments, most of them soon after the run got further.

    Where it cannot get further there is its end to shoot at, in every other case, or there would be none.
    """

    def __init__(self, seed: int) -> None:
        self.hits: Counter[str] = Counter()
        self._chance = random.Random(seed)
        self._newest = 0

    def rages_over(self, command: Command) -> None:
        """Until the command has ended."""
        while command.running:
            if self._its_time(command):
                self._kill_one(command)
            time.sleep(0.02)

    def _its_time(self, command: Command) -> bool:
        if self._chance.random() < (0.5 if self._newest >= STEPS else 0.2):
            time.sleep(self._chance.uniform(0.0, 1.0))
        else:
            until(lambda: not command.running or newest_step(FOLDER / "checkpoints/steps") > self._newest)
            time.sleep(self._chance.uniform(0.0, 0.05))
        self._newest = newest_step(FOLDER / "checkpoints/steps")
        return command.running

    def _kill_one(self, command: Command) -> None:
        found = kinds(command)
        kind = self._chance.choice(sorted(found))
        try:
            self._chance.choice(sorted(found[kind], key=lambda process: process.pid)).kill()
        except (psutil.NoSuchProcess, IndexError):
            return
        self.hits[kind] += 1


def test_the_storm_has_as_many_kills_as_were_asked_for() -> None:
    assert KILLS_A_RUN * len(CASES) >= KILLS


@pytest.mark.timeout(2 * MOST_SECONDS)
@pytest.mark.parametrize(("devices", "seed"), CASES)
def test_every_run_of_the_storm_ends_with_the_same_bits(
    tmp_path: Path, untouched: Callable[[int], dict[str, str]], devices: int, seed: int
) -> None:
    expected = untouched(devices)
    os.chdir(tmp_path)
    storm, end = Storm(seed), time.monotonic() + MOST_SECONDS
    while read_json(FOLDER / "run.json").get("status") != "finished":
        assert time.monotonic() < end, f"{storm.hits}: {read_json(FOLDER / 'run.json')}"
        try:
            command = Command(*settings(devices), *SETTINGS)
        except EOFError:
            # The server that it would have come from has just been killed as well.
            continue
        storm.rages_over(command)
        command.end()
    print(f"{storm.hits.total()} kills: {dict(storm.hits)}")
    assert storm.hits.total() >= KILLS_A_RUN
    assert figures() == expected
    assert until(lambda: set(kinds(command)) <= {"server", "tracker"}, 15), kinds(command)


@pytest.mark.parametrize("devices", [1, 2])
@pytest.mark.parametrize("step", [3, 30])
@pytest.mark.parametrize("stage", fault_points.STAGES)
@pytest.mark.parametrize("kind", ["kill", *DISK])
def test_a_fault_inside_a_save_costs_no_bit(
    tmp_path: Path, kind: str, stage: str, step: int, devices: int
) -> None:
    length = "lightning.max_epochs=6"
    plan = faults(f"{kind}@save={stage},step={step},attempt=1,rank=0")
    result = start(job(tmp_path / "hit", length, *plan, devices=devices))
    assert result.status == "finished", result.message
    assert newest_whole(tmp_path / "hit" / "checkpoints" / "steps") is not None
    start(job(tmp_path / "whole", length, devices=devices))
    assert digests(tmp_path / "hit") == digests(tmp_path / "whole")


@pytest.mark.parametrize("seed", range(20))
def test_a_fault_with_a_chance_of_a_fifth_in_each_attempt_is_survived(tmp_path: Path, seed: int) -> None:
    plan = [*faults("kill@step=9,p=0.2; raise@step=20,p=0.2"), f"+callbacks.faults.seed={seed}"]
    result = start(job(tmp_path, "lightning.max_epochs=3", *plan))
    assert result.status == "finished", result.message
    assert len(result.attempts) <= 6
