"""A model cut up over ranks survives what one on a single device does: by its folders of pieces."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from killed_runs import faults, job
from safetensors.torch import load_file
from sharded_trainer import causes, digests, saves, sharded

import nimble_lightning as nl
from nimble_lightning.api.load import best_checkpoint
from nimble_lightning.checkpoint import fault_points, newest_whole, verify
from nimble_lightning.checkpoint.full_weights import weights_of
from nimble_lightning.commands import main
from nimble_lightning.launch.start import start
from nimble_lightning.run_folder import RunFolder

CUT_UP = """
from torch.distributed.fsdp import fully_shard
from nimble_lightning.testing.tiny import TinyTrainer

class CutUp(TinyTrainer):
    def configure_model(self):
        fully_shard(self.model)
"""
LENGTH = "lightning.max_epochs=3"
LAST = 18
# The first rank comes to every stage, the other only to those of its own piece.
KILLED = [*((0, stage) for stage in fault_points.STAGES), (1, "half"), (1, "fsync")]
FAILED = [case for case in KILLED if case != (0, "prune")]


def some(cases: list[tuple[int, str]], often: set[tuple[int, str]]) -> list[Any]:
    """All cases, but those that are not named only in the soak."""
    return [case if case in often else pytest.param(*case, marks=pytest.mark.soak) for case in cases]


@pytest.fixture(scope="module", autouse=True)
def quiet_workers() -> Iterator[None]:
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"
    yield
    os.environ.pop("OMP_NUM_THREADS") if before is None else os.environ.update(OMP_NUM_THREADS=before)


@pytest.fixture(scope="module")
def untouched(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("untouched")
    assert start(sharded(folder, LENGTH)).status == "finished"
    return digests(folder, folder)


def test_it_leaves_two_folders_of_pieces_with_a_manifest_each_and_shows_what_it_can(tmp_path: Path) -> None:
    assert start(sharded(tmp_path, LENGTH)).status == "finished"
    assert saves(tmp_path) == ["step-00000015.ckpt", "step-00000018.ckpt"]
    newest = tmp_path / "checkpoints" / "steps" / "step-00000018.ckpt"
    manifest = verify(newest, run_id="test")
    assert (manifest.step, manifest.device) == (LAST, "cpu")
    assert {"__0_0.distcp", "__1_0.distcp", ".metadata", "meta.pt"} == set(manifest.files)
    assert manifest.parent is not None
    assert not list(tmp_path.glob("checkpoints/steps/.*"))
    shown = json.loads((tmp_path / "show" / "index.json").read_text())
    assert [entry["caption"] for entry in shown] == ["the first three"]


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, *(pytest.param(seed, marks=pytest.mark.soak) for seed in range(2, 22))])
def test_killed_at_random_steps_it_ends_with_the_same_bits(
    tmp_path: Path, untouched: dict[str, str], seed: int
) -> None:
    chance = random.Random(seed)
    steps = sorted(chance.sample(range(2, LAST), 2))
    plan = (f"kill@step={s},attempt={n},rank={chance.randrange(2)}" for n, s in enumerate(steps, 1))
    assert start(sharded(tmp_path, LENGTH, *faults("; ".join(plan)))).status == "finished"
    assert causes(tmp_path) == ["killed", "killed", "finished"]
    assert digests(tmp_path, tmp_path) == untouched


@pytest.mark.parametrize(("rank", "stage"), some(KILLED, often={(1, "half"), (0, "folder")}))
def test_killed_inside_a_save_it_ends_with_the_same_bits(
    tmp_path: Path, untouched: dict[str, str], rank: int, stage: str
) -> None:
    plan = faults(f"kill@save={stage},step=12,attempt=1,rank={rank}")
    result = start(sharded(tmp_path, LENGTH, *plan))
    assert causes(tmp_path) == ["killed", "finished"]
    # From "replace" on it is whole under its temporary name, and gets its own when the dead are cleared away.
    assert result.attempts[1]["first_step"] == (12 if stage in ("replace", "folder", "prune") else 9)
    assert digests(tmp_path, tmp_path) == untouched


@pytest.mark.parametrize(("rank", "stage"), some(FAILED, often={(1, "fsync")}))
def test_a_disk_error_on_one_rank_is_an_alert_on_all_and_training_goes_on(
    tmp_path: Path, untouched: dict[str, str], rank: int, stage: str
) -> None:
    plan = faults(f"enospc@save={stage},step=12,attempt=1,rank={rank}")
    assert start(sharded(tmp_path, LENGTH, *plan)).status == "finished"
    assert causes(tmp_path) == ["finished"]
    assert "step 12 could not be saved, training goes on" in (tmp_path / "log.txt").read_text()
    assert digests(tmp_path, tmp_path) == untouched


@pytest.mark.slow
def test_with_a_damaged_piece_the_save_before_is_taken(tmp_path: Path, untouched: dict[str, str]) -> None:
    once = "callbacks.auto_retry.max_retries=0"
    first = start(sharded(tmp_path, LENGTH, once, *faults("kill@step=14,attempt=1,rank=1")))
    assert first.status == "failed"
    piece = tmp_path / "checkpoints" / "steps" / "step-00000012.ckpt" / "__1_0.distcp"
    content = bytearray(piece.read_bytes())
    content[len(content) // 2] ^= 1
    piece.write_bytes(content)
    found = newest_whole(tmp_path / "checkpoints" / "steps")
    assert found is not None
    assert (found.manifest.step, [path.name for path, _ in found.skipped]) == (9, ["step-00000012.ckpt"])
    second = start(sharded(tmp_path, LENGTH, once))
    assert (second.status, second.attempts[1]["first_step"]) == ("finished", 9)
    assert digests(tmp_path, tmp_path) == untouched


@pytest.mark.slow
def test_what_fully_shard_cut_up_is_exported_and_evaluated_whole(tmp_path: Path) -> None:
    trainer, folder, out = tmp_path / "cut_up.py", tmp_path / "run", tmp_path / "out"
    trainer.write_text(CUT_UP)
    assert start(sharded(folder, "lightning.max_epochs=1", trainer=f"{trainer}:CutUp")).status == "finished"
    assert main.main(["export", str(folder), "--to", "safetensors", "--out", str(out), "--trust"]) == 0
    exported = load_file(out / "model.safetensors")
    trained = weights_of(best_checkpoint(RunFolder(folder), "test"))
    assert {f"model.{name}" for name in exported} == set(trained)
    assert all(torch.equal(weight, trained[f"model.{name}"]) for name, weight in exported.items())
    metrics = json.loads((folder / "run.json").read_text())["metrics"]
    found = nl.evaluate(folder, trust=True)
    assert found == pytest.approx({name: metrics[name] for name in found}, rel=1e-5)


def test_where_lightning_wants_a_gpu_it_says_so_once(tmp_path: Path) -> None:
    result = start(job(tmp_path, "strategy=fsdp"))
    assert (result.status, len(result.attempts)) == ("failed", 1)
    assert "requires a GPU" in result.message


def test_out_of_memory_on_one_rank_is_told_and_nobody_waits_for_it(tmp_path: Path) -> None:
    result = start(sharded(tmp_path, LENGTH, *faults("oom@step=5,rank=1")))
    assert result.status == "failed"
    assert [attempt["cause"] for attempt in result.attempts] == ["device_memory", "deterministic"]
    assert all(attempt["rank"] == 1 for attempt in result.attempts)
    assert "Out of memory with 8 samples" in result.message
