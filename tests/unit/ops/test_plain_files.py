"""Of a folder that may come from anybody only plain files inside it are opened."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from nimble_lightning.ops import plain_files


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/secret").write_text("secret")
    made = tmp_path / "run"
    (made / "show").mkdir(parents=True)
    (made / "show/a.txt").write_text("plain")
    return made


def test_a_plain_file_is_read_also_in_a_folder_that_is_reached_by_a_link(folder: Path) -> None:
    link = folder.with_name("link")
    link.symlink_to(folder)
    assert plain_files.read(link, "show/a.txt") == b"plain"
    assert plain_files.is_inside(link, link / "show" / "a.txt")


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("a", lambda path: path.symlink_to("../outside/secret")),
        ("show/a", lambda path: path.symlink_to("../../outside/secret")),
        ("away/secret", lambda path: path.parent.symlink_to("../outside")),
        ("a", os.mkfifo),
        ("a", lambda path: path.symlink_to("/dev/zero")),
        ("show", None),
        ("../outside/secret", None),
        ("show/../../outside/secret", None),
        ("/etc/passwd", None),
        ("", None),
        ("show/a.txt\0", None),
        ("missing", None),
    ],
)
def test_nothing_else_is(folder: Path, name: str, make: Callable[[Path], object] | None) -> None:
    if make is not None:
        make(folder / name)
    with pytest.raises(OSError, match="inside|plain|Too many|No such|Not a dir"):
        plain_files.read(folder, name)
    assert plain_files.read_json(folder, name) is None


@pytest.mark.parametrize("name", ["a", "away/new"])
def test_nothing_is_written_through_a_link(folder: Path, name: str) -> None:
    (folder / "a").symlink_to("../outside/secret")
    (folder / "away").symlink_to("../outside")
    with pytest.raises(OSError, match="Too many|Not a dir"):
        plain_files.descriptor(folder, name, os.O_WRONLY | os.O_CREAT)
    assert os.listdir(folder.parent / "outside") == ["secret"]
    assert (folder.parent / "outside/secret").read_text() == "secret"


def test_a_file_is_replaced_whatever_lies_in_its_place_or_waits_for_it(folder: Path) -> None:
    for name in ("page.html", f".page.html.tmp-{os.getpid()}"):
        (folder / name).symlink_to("../outside/secret")
    plain_files.replace(folder / "page.html", b"new")
    assert (folder / "page.html").read_bytes() == b"new"
    assert not (folder / "page.html").is_symlink()
    assert (folder.parent / "outside/secret").read_text() == "secret"
    assert sorted(os.listdir(folder)) == ["page.html", "show"]


def test_more_than_a_record_can_have_is_not_read(folder: Path) -> None:
    with open(folder / "hole.json", "wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(OSError, match="at most"):
        plain_files.read(folder, "hole.json")
    with plain_files.open_inside(folder, "hole.json") as opened:
        assert list(plain_files.lines(opened)) == []
    (folder / "deep.json").write_text("[" * 100_000)
    assert plain_files.read_json(folder, "deep.json") is None


def test_nothing_is_looked_for_behind_a_link(tmp_path: Path) -> None:
    inside, outside = tmp_path / "folder", tmp_path / "outside"
    for place in (inside / "real", outside):
        place.mkdir(parents=True)
        (place / "a.ckpt").touch()
    (inside / "linked").symlink_to(outside)
    (inside / "real" / "b.ckpt").symlink_to(outside / "a.ckpt")
    assert plain_files.found_inside(inside, inside / "real", "*.ckpt") == [inside / "real" / "a.ckpt"]
    assert plain_files.found_inside(inside, inside / "linked", "*.ckpt") == []
