"""The newest whole checkpoint is found, and those passed over are named with the reason."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
from checkpoint_cases import fail_at, save

from nimble_lightning.checkpoint import fault_points, newest_whole


def damage(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_most_steps_win_whatever_the_names_and_times(tmp_path: Path) -> None:
    save(tmp_path / "best.ckpt", 9)
    save(tmp_path / "deep" / "er" / "z.ckpt", 10)
    save(tmp_path / "z.ckpt", 8)
    found = newest_whole(tmp_path)
    assert found is not None
    assert (found.path, found.manifest.step, found.skipped) == (tmp_path / "deep" / "er" / "z.ckpt", 10, ())


def test_of_equal_steps_the_younger_wins(tmp_path: Path) -> None:
    save(tmp_path / "b.ckpt", 1)
    save(tmp_path / "a.ckpt", 1)
    found = newest_whole(tmp_path)
    assert found is not None
    assert found.path.name == "a.ckpt"


def test_damaged_ones_are_passed_over_with_the_reason(tmp_path: Path) -> None:
    for step in (1, 2, 3, 4):
        save(tmp_path / f"{step}.ckpt", step)
    damage(tmp_path / "4.ckpt")
    (tmp_path / "3.ckpt").write_bytes(b"")
    (tmp_path / "2.ckpt").unlink()
    found = newest_whole(tmp_path)
    assert found is not None
    assert found.manifest.step == 1
    reasons = {path.name: reason for path, reason in found.skipped}
    assert list(reasons) == ["4.ckpt", "3.ckpt", "2.ckpt"]
    assert "altered" in reasons["4.ckpt"]
    assert "0 bytes" in reasons["3.ckpt"]
    assert "no checkpoint" in reasons["2.ckpt"]


def test_an_unreadable_manifest_is_passed_over(tmp_path: Path) -> None:
    save(tmp_path / "1.ckpt", 1)
    save(tmp_path / "2.ckpt", 2)
    damage(tmp_path / "2.ckpt.manifest.json")
    found = newest_whole(tmp_path)
    assert found is not None
    assert [path.name for path, _ in found.skipped] == ["2.ckpt"]


def test_other_runs_are_passed_over(tmp_path: Path) -> None:
    save(tmp_path / "1.ckpt", 1, run_id="mine")
    save(tmp_path / "2.ckpt", 2, run_id="yours")
    found = newest_whole(tmp_path, run_id="mine")
    assert found is not None
    assert found.manifest.step == 1
    assert "yours" in found.skipped[0][1]


def test_foreign_files_and_links_are_passed_over_and_hidden_ones_unseen(tmp_path: Path) -> None:
    save(tmp_path / "1.ckpt", 1)
    (tmp_path / "2.ckpt").write_bytes(b"foreign")
    (tmp_path / "last.ckpt").symlink_to(tmp_path / "1.ckpt")
    (tmp_path / ".3.ckpt.tmp-1").write_bytes(b"unfinished")
    (tmp_path / "notes.txt").write_text("not a checkpoint")
    save(tmp_path / ".hidden.ckpt", 9)
    found = newest_whole(tmp_path)
    assert found is not None
    assert found.manifest.step == 1
    assert {path.name for path, _ in found.skipped} == {"2.ckpt", "last.ckpt"}


@pytest.mark.parametrize("exists", [True, False])
def test_nothing_to_find_is_none(tmp_path: Path, exists: bool) -> None:
    assert newest_whole(tmp_path if exists else tmp_path / "missing") is None


def test_looking_changes_nothing(tmp_path: Path) -> None:
    save(tmp_path / "1.ckpt", 1)
    (tmp_path / ".2.ckpt.tmp-1").write_bytes(b"unfinished")
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    newest_whole(tmp_path)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before


def test_a_save_cut_off_before_its_file_got_its_name_does_not_count(tmp_path: Path) -> None:
    save(tmp_path / "a.ckpt", 5)
    save(tmp_path / "b.ckpt", 8)
    save(tmp_path / "new" / "a.ckpt", 10)
    (tmp_path / "new" / "a.ckpt.manifest.json").rename(tmp_path / ".a.ckpt.manifest.json.tmp-1")
    (tmp_path / "new" / "a.ckpt").unlink()
    found = newest_whole(tmp_path)
    assert found is not None
    assert (found.path.name, found.manifest.step) == ("b.ckpt", 8)


def test_a_save_cut_off_after_its_file_got_its_name_counts_as_new(tmp_path: Path) -> None:
    save(tmp_path / "a.ckpt", 5)
    save(tmp_path / "b.ckpt", 8)
    fault_points.set_hook(fail_at("folder", errno.EIO))
    with pytest.raises(OSError, match="Errno"):
        save(tmp_path / "a.ckpt", 10)
    found = newest_whole(tmp_path)
    assert found is not None
    assert (found.path.name, found.manifest.step) == ("a.ckpt", 10)
