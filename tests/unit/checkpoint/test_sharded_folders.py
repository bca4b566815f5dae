"""Sharded checkpoints are whole or absent as folders."""

from __future__ import annotations

import errno
import os
import signal
from pathlib import Path

import pytest
import torch
import torch.distributed.checkpoint as dcp
from checkpoint_cases import fail_at, in_fork, kill_at

from nimble_lightning.checkpoint import (
    NimbleCheckpointIO,
    RunFacts,
    fault_points,
    newest_whole,
    prune,
    seal_folder,
    staging_folder,
    sweep,
    verify,
)
from nimble_lightning.errors import CheckpointError

# DCP says that it saves from one process, and over an older checkpoint: both are meant.
pytestmark = [
    pytest.mark.filterwarnings("ignore:torch.distributed is disabled:UserWarning"),
    pytest.mark.filterwarnings("ignore:Detected an existing checkpoint:UserWarning"),
]

SEAL_STAGES = ("open", "fsync", "pending", "manifest", "replace", "folder")


def write_shards(folder: Path, step: int) -> None:
    dcp.save({"weight": torch.full((100,), float(step))}, checkpoint_id=folder, no_dist=True)
    torch.save({"global_step": step}, folder / "meta.pt")


def save_sharded(path: Path, step: int) -> None:
    staged = staging_folder(path)
    write_shards(staged, step)
    seal_folder(path, RunFacts(step=step, run_id="run"), staged=staged)


def test_a_sealed_folder_is_found_and_loads(tmp_path: Path) -> None:
    save_sharded(tmp_path / "1.ckpt", 1)
    found = newest_whole(tmp_path, run_id="run")
    assert found is not None
    assert found.path == tmp_path / "1.ckpt"
    assert {".metadata", "meta.pt"} < set(found.manifest.files)
    loaded = {"weight": torch.zeros(100)}
    dcp.load(loaded, checkpoint_id=found.path, no_dist=True)
    assert torch.equal(loaded["weight"], torch.ones(100))
    assert [entry.name for entry in tmp_path.iterdir()] == ["1.ckpt"]


def test_a_folder_written_in_place_is_whole_once_it_is_sealed(tmp_path: Path) -> None:
    write_shards(tmp_path / "1.ckpt", 1)
    with pytest.raises(CheckpointError, match="no manifest"):
        verify(tmp_path / "1.ckpt")
    seal_folder(tmp_path / "1.ckpt", RunFacts(step=1))
    assert verify(tmp_path / "1.ckpt").step == 1
    write_shards(tmp_path / "1.ckpt", 2)
    with pytest.raises(CheckpointError, match="altered"):
        verify(tmp_path / "1.ckpt")


@pytest.mark.parametrize("name", ["2.ckpt", "1.ckpt"], ids=["new-name", "same-name"])
@pytest.mark.parametrize("stage", SEAL_STAGES)
def test_a_kill_at_any_stage_leaves_a_whole_folder(tmp_path: Path, stage: str, name: str) -> None:
    save_sharded(tmp_path / "1.ckpt", 1)

    def body() -> None:
        fault_points.set_hook(kill_at(stage))
        save_sharded(tmp_path / name, 2)

    assert os.WTERMSIG(in_fork(body)) == signal.SIGKILL
    found = newest_whole(tmp_path)
    assert found is not None
    assert found.manifest.step == (2 if stage == "folder" else 1)
    sweep(tmp_path)
    assert not list(tmp_path.glob(".*"))
    assert newest_whole(tmp_path) is not None


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EPERM], ids=errno.errorcode.get)
@pytest.mark.parametrize("stage", SEAL_STAGES)
def test_a_disk_error_at_any_stage_is_raised_and_the_next_save_works(
    tmp_path: Path, stage: str, number: int
) -> None:
    save_sharded(tmp_path / "1.ckpt", 1)
    fault_points.set_hook(fail_at(stage, number))
    with pytest.raises(OSError, match="Errno"):
        save_sharded(tmp_path / "1.ckpt", 2)
    assert newest_whole(tmp_path) is not None
    fault_points.set_hook(None)
    save_sharded(tmp_path / "1.ckpt", 3)
    assert verify(tmp_path / "1.ckpt").step == 3


def test_killed_between_two_renames_the_sweep_does_the_second(tmp_path: Path) -> None:
    save_sharded(tmp_path / "1.ckpt", 1)

    def body() -> None:
        replace = os.replace

        def hook(stage: str) -> None:
            if stage == "replace":
                os.replace = lambda *names: (replace(*names), os.kill(os.getpid(), signal.SIGKILL))  # type: ignore[assignment]

        fault_points.set_hook(hook)
        save_sharded(tmp_path / "1.ckpt", 2)

    assert os.WTERMSIG(in_fork(body)) == signal.SIGKILL
    assert not (tmp_path / "1.ckpt").exists()
    sweep(tmp_path)
    assert verify(tmp_path / "1.ckpt").step == 2
    assert [entry.name for entry in tmp_path.iterdir()] == ["1.ckpt"]


@pytest.mark.parametrize("damage", ["flip", "missing", "added", "link", "renamed"])
def test_a_damaged_folder_is_refused(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "1.ckpt"
    save_sharded(path, 1)
    shard = next(path.glob("*.distcp"))
    if damage == "flip":
        data = bytearray(shard.read_bytes())
        data[-1] ^= 1
        shard.write_bytes(data)
    elif damage == "missing":
        shard.unlink()
    elif damage == "added":
        (path / "evil.py").write_text("")
    elif damage == "link":
        shard.rename(tmp_path / "elsewhere")
        shard.symlink_to(tmp_path / "elsewhere")
    else:
        path = path.rename(tmp_path / "2.ckpt")
    with pytest.raises(CheckpointError, match="refused"):
        verify(path)
    assert newest_whole(tmp_path) is None


def test_old_folders_are_pruned(tmp_path: Path) -> None:
    for step in (1, 2, 3):
        save_sharded(tmp_path / f"{step}.ckpt", step)
    prune(tmp_path, keep=2)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["2.ckpt", "3.ckpt"]


def test_the_plugin_says_who_loads_a_folder(tmp_path: Path) -> None:
    save_sharded(tmp_path / "1.ckpt", 1)
    with pytest.raises(CheckpointError, match="sharded"):
        NimbleCheckpointIO().load_checkpoint(tmp_path / "1.ckpt")
