"""Whoever kills a run, whenever: it ends with the bits of one that nobody touched."""

from __future__ import annotations

import functools
import json
import multiprocessing
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from external_launchers import until
from forked_command import Command
from killed_runs import (
    TRAINER,
    bad_starts,
    digests,
    faults,
    gone,
    job,
    newest_step,
    run_and_kill,
    settings,
    workers,
)

from nimble_lightning.checkpoint import fault_points, newest_whole
from nimble_lightning.launch.start import start
from nimble_lightning.run_folder import RunFolder
from nimble_lightning.runs.heartbeat import read

EPOCHS = {1: "lightning.max_epochs=27", 2: "lightning.max_epochs=36"}
SHORT = "lightning.max_epochs=3"
Untouched = Callable[[int, str], dict[str, str]]


@pytest.fixture(scope="module", autouse=True)
def quiet_workers() -> Iterator[None]:
    """Bits depend on the number of threads, and many of them would only be in each other's way here."""
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"
    yield
    os.environ.pop("OMP_NUM_THREADS") if before is None else os.environ.update(OMP_NUM_THREADS=before)


@pytest.fixture(scope="module")
def untouched(tmp_path_factory: pytest.TempPathFactory) -> Untouched:
    """Digests of a run nobody touches, by the number of ranks and the length."""

    @functools.cache
    def digests_of(devices: int, length: str) -> dict[str, str]:
        folder = tmp_path_factory.mktemp("untouched")
        assert start(job(folder, length, devices=devices)).status == "finished"
        return digests(folder)

    return digests_of


@pytest.mark.parametrize(
    ("devices", "kills", "seed"),
    [
        (1, 3, 1),
        (2, 2, 3),
        pytest.param(1, 10, 1, marks=pytest.mark.slow),
        pytest.param(2, 12, 3, marks=pytest.mark.slow),
    ],
)
def test_a_run_killed_at_random_ends_with_the_same_bits(
    tmp_path: Path,
    untouched: Untouched,
    devices: int,
    kills: int,
    seed: int,
) -> None:
    result, hits = run_and_kill(tmp_path, kills, seed, EPOCHS[devices], devices=devices)
    assert (result.status, hits) == ("finished", kills)
    assert [a["cause"] for a in result.attempts] == ["killed"] * kills + ["finished"]
    assert bad_starts(tmp_path) == []
    assert digests(tmp_path) == untouched(devices, EPOCHS[devices])


# In the default run before the new name is there, in the middle, and after.
OFTEN = ("half", "replace", "prune")


@pytest.mark.parametrize(
    "stage",
    [
        pytest.param(stage, marks=[] if stage in OFTEN else [pytest.mark.slow])
        for stage in fault_points.STAGES
    ],
)
def test_a_run_killed_inside_a_save_ends_with_the_same_bits(
    tmp_path: Path, untouched: Untouched, stage: str
) -> None:
    result = start(job(tmp_path, SHORT, *faults(f"kill@save={stage},step=12,attempt=1")))
    assert [a["cause"] for a in result.attempts] == ["killed", "finished"]
    assert result.attempts[1]["first_step"] in (9, 12)
    assert digests(tmp_path) == untouched(1, SHORT)


@pytest.mark.parametrize("rank", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_whichever_rank_is_killed_all_start_again_together(
    tmp_path: Path, untouched: Untouched, rank: int
) -> None:
    result = start(job(tmp_path, SHORT, *faults(f"kill@step=8,attempt=1,rank={rank}"), devices=2))
    assert [a["cause"] for a in result.attempts] == ["killed", "finished"]
    assert result.attempts[0]["rank"] == rank
    assert digests(tmp_path) == untouched(2, SHORT)


def test_a_damaged_checkpoint_between_two_attempts_is_passed_over(
    tmp_path: Path, untouched: Untouched
) -> None:
    def damage(stage: str) -> None:
        newest = tmp_path / "checkpoints" / "steps" / "step-00000012.ckpt"
        if newest.exists():
            content = bytearray(newest.read_bytes())
            content[len(content) // 2] ^= 1
            newest.write_bytes(content)

    first = job(tmp_path, SHORT, "callbacks.auto_retry.max_retries=0", *faults("kill@step=14,attempt=1"))
    assert start(first).status == "failed"
    damage("after the first attempt")
    found = newest_whole(tmp_path / "checkpoints" / "steps")
    assert found is not None
    assert (found.manifest.step, [path.name for path, _ in found.skipped]) == (9, ["step-00000012.ckpt"])
    result = start(job(tmp_path, SHORT, "callbacks.auto_retry.max_retries=0"))
    assert result.attempts[1]["first_step"] == 9
    assert digests(tmp_path) == untouched(1, SHORT)


LOADING = """
import os, signal
import torch
from torch.utils.data import Dataset, get_worker_info
from nimble_lightning.testing.tiny import TinyTrainer

class Samples(Dataset):
    def __init__(self, points, labels, killed):
        self.points, self.labels, self.killed = points, labels, killed
        self.noise = lambda: 0.1 * torch.rand(8)  # which cannot be pickled

    def __len__(self):
        return len(self.points)

    def __getitem__(self, index):
        if index == 50 and self.killed and not os.path.exists(self.killed):
            open(self.killed, "w").close()
            os.kill(os.getpid(), signal.SIGKILL)
        return self.points[index] + self.noise(), self.labels[index]

class Loading(TinyTrainer):
    def pre_process(self, *, killed: str = ""):
        super().pre_process()
        self.train_data = Samples(*self.train_data, killed)
"""


def test_a_killed_loading_process_is_one_more_reason_to_start_again(tmp_path: Path) -> None:
    trainer = tmp_path / "loading.py"
    trainer.write_text(LOADING)
    ends = []
    for name, killed in (("whole", ""), ("killed", str(tmp_path / "flag"))):
        asked = job(
            tmp_path / name,
            SHORT,
            "data.num_workers=2",
            f"+params.killed={killed or repr('')}",
            trainer=str(trainer),
        )
        result = start(asked)
        assert result.status == "finished", result.message
        ends.append((len(result.attempts), digests(tmp_path / name)))
    assert [attempts for attempts, _ in ends] == [1, 2]
    assert ends[0][1] == ends[1][1]


def test_workers_end_with_their_supervisor_and_the_same_command_continues(untouched: Untouched) -> None:
    words = [f"trainer={TRAINER}", "name=tiny", *settings(), SHORT, "params.step_seconds=0.05"]
    command, folder = Command(*words), Path("outputs/tiny/test")
    assert until(lambda: newest_step(folder / "checkpoints/steps") >= 6)
    (beat,) = (read(path) for path in RunFolder(folder).heartbeats())
    assert beat is not None
    worker = psutil.Process(beat.pid)
    command.kill()
    assert gone([worker])
    Command(*words).end_with(0)
    first, second = json.loads((folder / "run.json").read_text())["attempts"]
    assert second["first_step"] >= 6
    assert (first["cause"], second["cause"]) == ("killed", "finished")
    assert digests(folder) == untouched(1, SHORT)


def test_no_worker_is_left_when_a_run_has_ended() -> None:
    assert workers() == []
    assert multiprocessing.active_children() == []
