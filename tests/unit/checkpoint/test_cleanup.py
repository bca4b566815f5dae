"""A sweep deletes what dead processes left unfinished, and nothing else."""

from __future__ import annotations

import os
from pathlib import Path

from checkpoint_cases import in_fork, save

from nimble_lightning.checkpoint import sweep, verify
from nimble_lightning.checkpoint.retention import retire


def dead_pid() -> int:
    pids: list[int] = []
    read, write = os.pipe()
    in_fork(lambda: os.write(write, str(os.getpid()).encode()) and None)
    pids.append(int(os.read(read, 20)))
    os.close(read)
    os.close(write)
    return pids[0]


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_files_and_folders_of_dead_processes_go(tmp_path: Path) -> None:
    pid = dead_pid()
    (tmp_path / f".a.ckpt.tmp-{pid}").write_bytes(b"half")
    (tmp_path / f".a.ckpt.manifest.json.tmp-{pid}").write_bytes(b"half")
    (tmp_path / f".b.ckpt.tmp-{pid}").mkdir()
    (tmp_path / f".b.ckpt.tmp-{pid}" / "shard").write_bytes(b"half")
    assert len(sweep(tmp_path)) == 3
    assert names(tmp_path) == set()


def test_files_of_the_living_and_of_others_stay(tmp_path: Path) -> None:
    kept = {
        f".a.ckpt.tmp-{os.getppid()}",
        ".a.tmp",
        "a.tmp-1",
        ".a.ckpt.tmp-x",
        "app.manifest.json",
        "b.ckpt",
    }
    for name in kept:
        (tmp_path / name).write_bytes(b"")
    assert sweep(tmp_path) == []
    assert names(tmp_path) == kept


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / f".a.ckpt.tmp-{dead_pid()}").symlink_to(tmp_path / "mine")
    sweep(tmp_path / "run")
    assert (tmp_path / "mine").is_dir()


def test_a_waiting_manifest_that_holds_gets_its_name(tmp_path: Path) -> None:
    path = save(tmp_path / "1.ckpt", 1)
    (tmp_path / "1.ckpt.manifest.json").rename(tmp_path / f".1.ckpt.manifest.json.tmp-{dead_pid()}")
    assert verify(path).step == 1
    assert sweep(tmp_path) == []
    assert names(tmp_path) == {"1.ckpt", "1.ckpt.manifest.json"}


def test_manifests_and_marks_of_deleted_checkpoints_go(tmp_path: Path) -> None:
    path = save(tmp_path / "1.ckpt", 1)
    retire(path)
    path.unlink()
    assert len(sweep(tmp_path)) == 2
    assert names(tmp_path) == set()
