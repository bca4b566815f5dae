"""Old checkpoints go, but two committed ones always stay."""

from __future__ import annotations

from pathlib import Path

import pytest
from checkpoint_cases import save

from nimble_lightning.checkpoint import NimbleCheckpointIO, newest_whole, prune, sweep, verify
from nimble_lightning.checkpoint.retention import delete
from nimble_lightning.errors import RequestError


def checkpoints(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*.ckpt"))


def test_the_newest_and_the_protected_stay(tmp_path: Path) -> None:
    for step in range(6):
        save(tmp_path / f"{step}.ckpt", step)
    assert prune(tmp_path, keep=2, protect=[tmp_path / "1.ckpt"]) == [
        tmp_path / f"{i}.ckpt" for i in (0, 2, 3)
    ]
    assert checkpoints(tmp_path) == ["1.ckpt", "4.ckpt", "5.ckpt"]
    assert len(list(tmp_path.iterdir())) == 6


def test_one_that_is_not_whole_does_not_count(tmp_path: Path) -> None:
    for step in range(4):
        save(tmp_path / f"{step}.ckpt", step)
    (tmp_path / "3.ckpt").write_bytes(b"cut")
    prune(tmp_path, keep=2)
    assert checkpoints(tmp_path) == ["1.ckpt", "2.ckpt", "3.ckpt"]


def test_fewer_than_two_cannot_be_asked_for(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="at least 2"):
        prune(tmp_path, keep=1)


def test_replacing_one_by_one_never_leaves_fewer_than_two(tmp_path: Path) -> None:
    for step in range(8):
        # A fresh plugin each time, as in a run that is killed after every save.
        save(tmp_path / f"{step}.ckpt", step)
        if step:
            NimbleCheckpointIO().remove_checkpoint(tmp_path / f"{step - 1}.ckpt")
            assert checkpoints(tmp_path) == [f"{step - 1}.ckpt", f"{step}.ckpt"]


def test_a_removed_one_stays_until_two_others_are_committed(tmp_path: Path) -> None:
    NimbleCheckpointIO().remove_checkpoint(save(tmp_path / "1.ckpt", 1))
    save(tmp_path / "2.ckpt", 2)
    assert checkpoints(tmp_path) == ["1.ckpt", "2.ckpt"]
    save(tmp_path / "3.ckpt", 3)
    assert checkpoints(tmp_path) == ["2.ckpt", "3.ckpt"]


def test_a_checkpoint_saved_again_under_a_removed_name_stays(tmp_path: Path) -> None:
    io = NimbleCheckpointIO()
    save(tmp_path / "a.ckpt", 1)
    io.remove_checkpoint(tmp_path / "a.ckpt")
    for step, name in enumerate(["a.ckpt", "b.ckpt", "c.ckpt"], start=2):
        save(tmp_path / name, step)
    assert checkpoints(tmp_path) == ["a.ckpt", "b.ckpt", "c.ckpt"]


def test_removing_what_is_gone_or_foreign_or_hidden_is_done_at_once(tmp_path: Path) -> None:
    io = NimbleCheckpointIO()
    io.remove_checkpoint(tmp_path / "gone.ckpt")
    (tmp_path / "foreign.ckpt").write_bytes(b"")
    io.remove_checkpoint(tmp_path / "foreign.ckpt")
    io.remove_checkpoint(save(tmp_path / ".hidden.ckpt", 1))
    assert list(tmp_path.iterdir()) == []


def test_a_deletion_cut_in_the_middle_leaves_nothing_that_looks_whole(tmp_path: Path) -> None:
    save(tmp_path / "1.ckpt", 1)
    path = save(tmp_path / "2.ckpt", 2)
    manifest = (tmp_path / "2.ckpt.manifest.json").read_bytes()
    delete(path)
    (tmp_path / "2.ckpt.manifest.json").write_bytes(manifest)
    found = newest_whole(tmp_path)
    assert found is not None
    assert found.manifest.step == 1
    sweep(tmp_path)
    assert {entry.name for entry in tmp_path.iterdir()} == {"1.ckpt", "1.ckpt.manifest.json"}
    assert verify(tmp_path / "1.ckpt").step == 1
