"""Pairs of neighbouring commits from anywhere in a run stay, without room of their own."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from nimble_lightning.checkpoint import prune, verify
from nimble_lightning.checkpoint.manifest import FileRecord, Manifest
from nimble_lightning.run_folder import RunFolder
from nimble_lightning.worker.keep_segments import KeepStretches

TRAINER: Any = SimpleNamespace(is_global_zero=True)


def commit(folder: RunFolder, step: int) -> None:
    path, content = folder.steps / f"step-{step:08d}.ckpt", f"step {step}".encode()
    path.write_bytes(content)
    facts: dict[str, Any] = {"run_id": "a", "samples": None, "epoch": 0, "attempt": 1, "parent": None}
    files = {path.name: FileRecord(len(content), sha256(content).hexdigest())}
    manifest = Manifest(
        name=path.name,
        files=files,
        step=step,
        versions={},
        threads=1,
        device="cpu",
        created=float(step),
        **facts,
    )
    path.with_name(f"{path.name}.manifest.json").write_bytes(manifest.dump())
    prune(folder.steps, keep=2)


def train(folder: RunFolder, keeping: KeepStretches, steps: range) -> None:
    for step in steps:
        commit(folder, step)
        keeping.on_save_checkpoint(TRAINER, None, {})  # type: ignore[arg-type]
        keeping.on_train_batch_start(TRAINER, None, None, 0)  # type: ignore[arg-type]


def kept(folder: RunFolder) -> list[tuple[int, ...]]:
    places = folder.stretches.iterdir()
    return sorted(tuple(sorted(verify(p).step for p in place.glob("*.ckpt"))) for place in places)


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    folder = RunFolder(tmp_path / "run")
    folder.create()
    return folder


def test_as_many_pairs_are_kept_as_were_asked_for(folder: RunFolder) -> None:
    train(folder, KeepStretches(folder, 3), range(1, 30))
    found = kept(folder)
    assert len(found) == 3
    assert all(end == begin + 1 for begin, end in found)
    assert len(list(folder.steps.glob("*.ckpt"))) == 2


def test_a_short_run_keeps_all_of_its_pairs(folder: RunFolder) -> None:
    train(folder, KeepStretches(folder, 10), range(1, 5))
    assert kept(folder) == [(1, 2), (2, 3), (3, 4)]


def test_every_part_of_a_run_has_its_chance_over_a_resume_as_well(folder: RunFolder) -> None:
    first, second = KeepStretches(folder, 1), KeepStretches(folder, 1)
    train(folder, first, range(1, 20))
    second.load_state_dict(first.state_dict())
    # Always the first of those there are: none seen later takes its place.
    second._chance = SimpleNamespace(randrange=lambda count: count - 1)  # type: ignore[assignment]
    before = kept(folder)
    train(folder, second, range(20, 40))
    assert kept(folder) == before


def test_a_kept_commit_takes_no_room_of_its_own(folder: RunFolder) -> None:
    train(folder, KeepStretches(folder, 1), range(1, 3))
    (place,) = folder.stretches.iterdir()
    name = "step-00000002.ckpt"
    assert (place / name).stat().st_ino == (folder.steps / name).stat().st_ino


def test_a_commit_is_looked_at_once(folder: RunFolder) -> None:
    keeping = KeepStretches(folder, 5)
    train(folder, keeping, range(1, 3))
    keeping.on_train_end(TRAINER, None)  # type: ignore[arg-type]
    assert kept(folder) == [(1, 2)]
