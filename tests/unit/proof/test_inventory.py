"""What belongs to a run, what comes and goes, and what has no place in its folder."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from proof_cases import FILES, make_run, write

from nimble_lightning.proof.inventory import matches, survey


def test_every_file_of_a_run_belongs_to_it(tmp_path: Path) -> None:
    found = survey(make_run(tmp_path))
    assert not found.strangers
    assert not found.odd
    assert set(FILES) <= found.parts.keys()
    assert set(found.volatile) == {"outbox/events.jsonl", "run.lock", "member.json"}


def test_what_a_run_does_not_write_is_a_stranger(tmp_path: Path) -> None:
    for name in (".env", "id_rsa", "data/train.csv", "sub/run.json", "a.log.txt"):
        write(tmp_path / name, "x")
    assert set(survey(tmp_path).strangers) == {
        ".env",
        "id_rsa",
        "data/train.csv",
        "sub/run.json",
        "a.log.txt",
    }


def test_links_pipes_and_linked_folders_are_odd_and_not_followed(tmp_path: Path) -> None:
    write(tmp_path / "show/a.txt", "x")
    (tmp_path / "log.txt").symlink_to("show/a.txt")
    (tmp_path / "best").symlink_to(tmp_path / "show")
    os.mkfifo(tmp_path / "run.json")
    found = survey(tmp_path)
    assert sorted(found.odd) == ["best", "log.txt", "run.json"]
    assert list(found.parts) == ["show/a.txt"]


@pytest.mark.parametrize(
    ("name", "patterns", "answer"),
    [
        ("show/a/b.txt", ["show/"], True),
        ("show", ["show/"], False),
        ("sub/show/a.txt", ["show/"], False),
        ("a.png", ["*.png"], True),
        ("sub/a.png", ["*.png"], False),
        ("checkpoint-10/x", ["checkpoint-*/"], True),
        ("x/y/z", ["x/y/"], True),
    ],
)
def test_a_pattern_stands_for_files_of_a_folder_or_all_below_it(
    name: str, patterns: list[str], answer: bool
) -> None:
    assert matches(name, patterns) is answer
