"""What a run leaves is its owner's alone, whoever made the folder and whatever wrote into it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from nimble_lightning.ops.run_files import write_json
from nimble_lightning.run_folder import RunFolder, make_private


@pytest.fixture(autouse=True)
def usual_umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


def open_to_others(folder: Path) -> list[str]:
    paths = [folder, *folder.rglob("*")]
    return [str(path) for path in paths if not path.is_symlink() and path.stat().st_mode & 0o077]


def test_a_folder_somebody_else_has_made_is_closed(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir(mode=0o755)
    folder = RunFolder(tmp_path / "run")
    folder.create()
    write_json(folder.run, {"status": "running"})
    assert open_to_others(folder.path) == []


def test_what_libraries_have_written_is_closed_and_no_link_is_followed(tmp_path: Path) -> None:
    outside, run = tmp_path / "outside.txt", tmp_path / "run"
    outside.write_text("everybody's")
    (run / "logs").mkdir(parents=True)
    (run / "logs" / "events").write_text("x")
    (run / "script.sh").touch(0o755)
    (run / "link").symlink_to(outside)
    make_private(run)
    assert open_to_others(run) == []
    assert (run / "script.sh").stat().st_mode & 0o777 == 0o700
    assert outside.stat().st_mode & 0o777 == 0o644
