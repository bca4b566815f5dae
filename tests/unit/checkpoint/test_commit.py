"""At whatever point a save is cut off, a whole checkpoint is left and found."""

from __future__ import annotations

import errno
import os
import signal
import tempfile
from pathlib import Path

import pytest
import torch
from checkpoint_cases import fail_at, in_fork, kill_at, save, state

from nimble_lightning.checkpoint import fault_points, newest_whole, sweep
from nimble_lightning.checkpoint.file_names import parse_temporary
from nimble_lightning.checkpoint.io import NimbleCheckpointIO

ERRORS = [errno.ENOSPC, errno.EIO, errno.EPERM]
BEFORE = ("open", "half", "fsync", "pending", "replace")


def check_whole(folder: Path, stage: str) -> None:
    found = newest_whole(folder, run_id="run")
    assert found is not None
    assert found.manifest.step == (1 if stage in BEFORE else 2)
    loaded = NimbleCheckpointIO().load_checkpoint(found.path)
    assert torch.equal(loaded["state_dict"]["weight"], state(found.manifest.step)["state_dict"]["weight"])


def temporary(folder: Path) -> list[str]:
    return [entry.name for entry in folder.iterdir() if parse_temporary(entry.name)]


@pytest.mark.parametrize("name", ["second.ckpt", "first.ckpt"], ids=["new-name", "same-name"])
@pytest.mark.parametrize("stage", [stage for stage in fault_points.STAGES if stage != "prune"])
def test_a_kill_at_any_stage_leaves_a_whole_checkpoint(tmp_path: Path, stage: str, name: str) -> None:
    save(tmp_path / "first.ckpt", 1)

    def body() -> None:
        fault_points.set_hook(kill_at(stage))
        save(tmp_path / name, 2)

    assert os.WTERMSIG(in_fork(body)) == signal.SIGKILL
    check_whole(tmp_path, stage)
    sweep(tmp_path)
    assert temporary(tmp_path) == []
    check_whole(tmp_path, stage)


@pytest.mark.parametrize("name", ["second.ckpt", "first.ckpt"], ids=["new-name", "same-name"])
@pytest.mark.parametrize("number", ERRORS, ids=errno.errorcode.get)
@pytest.mark.parametrize("stage", [stage for stage in fault_points.STAGES if stage != "prune"])
def test_a_disk_error_at_any_stage_is_raised_and_leaves_a_whole_checkpoint(
    tmp_path: Path, stage: str, number: int, name: str
) -> None:
    save(tmp_path / "first.ckpt", 1)
    fault_points.set_hook(fail_at(stage, number))
    with pytest.raises(OSError, match="Errno") as raised:
        save(tmp_path / name, 2)
    assert raised.value.errno == number
    check_whole(tmp_path, stage)
    if stage in BEFORE:
        assert temporary(tmp_path) == []
    fault_points.set_hook(None)
    save(tmp_path / name, 3)
    assert temporary(tmp_path) == []
    found = newest_whole(tmp_path)
    assert found is not None
    assert found.manifest.step == 3


def saved_three_with_the_first_retired(folder: Path) -> None:
    io = NimbleCheckpointIO()
    for step in (1, 2):
        io.save_checkpoint(state(step), folder / f"{step}.ckpt")
    io.remove_checkpoint(folder / "1.ckpt")


def test_a_kill_while_pruning_leaves_the_new_checkpoint(tmp_path: Path) -> None:
    saved_three_with_the_first_retired(tmp_path)

    def body() -> None:
        fault_points.set_hook(kill_at("prune"))
        save(tmp_path / "3.ckpt", 3)

    assert os.WTERMSIG(in_fork(body)) == signal.SIGKILL
    found = newest_whole(tmp_path)
    assert found is not None
    assert found.manifest.step == 3
    save(tmp_path / "4.ckpt", 4)
    assert sorted(path.name for path in tmp_path.glob("*.ckpt")) == ["2.ckpt", "3.ckpt", "4.ckpt"]


@pytest.mark.parametrize("number", ERRORS, ids=errno.errorcode.get)
def test_an_old_checkpoint_that_cannot_be_deleted_does_not_fail_the_save(
    tmp_path: Path, number: int, caplog: pytest.LogCaptureFixture
) -> None:
    saved_three_with_the_first_retired(tmp_path)
    fault_points.set_hook(fail_at("prune", number))
    save(tmp_path / "3.ckpt", 3)
    assert "1.ckpt could not be deleted" in caplog.text
    found = newest_whole(tmp_path)
    assert found is not None
    assert found.manifest.step == 3


def test_the_system_s_temporary_folder_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path / "nowhere"))
    monkeypatch.setattr(tempfile, "tempdir", None)
    save(tmp_path / "run" / "1.ckpt", 1)
    found = newest_whole(tmp_path)
    assert found is not None
    assert not (tmp_path / "nowhere").exists()


def test_files_and_new_folders_are_for_the_owner_alone(tmp_path: Path) -> None:
    save(tmp_path / "run" / "1.ckpt", 1)
    assert (tmp_path / "run").stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "run").iterdir()} == {0o600}


def test_a_temporary_file_of_a_dead_process_with_our_id_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / f".1.ckpt.tmp-{os.getpid()}").write_bytes(b"left over")
    save(tmp_path / "1.ckpt", 1)
    assert temporary(tmp_path) == []


def test_a_link_in_place_of_the_temporary_file_is_not_followed(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text("mine")
    link = tmp_path / f".1.ckpt.tmp-{os.getpid()}"
    fault_points.set_hook(lambda stage: link.symlink_to(target) if stage == "open" else None)
    with pytest.raises(FileExistsError):
        save(tmp_path / "1.ckpt", 1)
    assert target.read_text() == "mine"
