from __future__ import annotations

from pathlib import Path

import pytest
from usage_cases import piece

from nimble_lightning.usage.rank_record import pieces, write


def test_a_piece_is_read_as_it_was_written(tmp_path: Path) -> None:
    written = piece(attempt=2, rank=1, tokens=7.0)
    write(tmp_path, written)
    assert pieces(tmp_path) == [written]
    assert (tmp_path / "usage" / "attempt-2.rank-1.json").exists()


def test_pieces_come_by_attempt_and_rank(tmp_path: Path) -> None:
    for attempt, rank in ((10, 0), (2, 1), (2, 0)):
        write(tmp_path, piece(attempt=attempt, rank=rank))
    assert [(p.attempt, p.rank) for p in pieces(tmp_path)] == [(2, 0), (2, 1), (10, 0)]


def test_pieces_of_another_run_in_the_same_folder_are_left_out(tmp_path: Path) -> None:
    write(tmp_path, piece(attempt=1, run="old"))
    write(tmp_path, piece(attempt=2, run="new"))
    assert [p.attempt for p in pieces(tmp_path, "new")] == [2]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"attempt": 1'])
def test_what_is_not_whole_is_passed_over(tmp_path: Path, text: str) -> None:
    write(tmp_path, piece())
    (tmp_path / "usage" / "attempt-2.rank-0.json").write_text(text)
    assert len(pieces(tmp_path)) == 1


def test_facts_of_a_later_version_do_not_matter(tmp_path: Path) -> None:
    write(tmp_path, piece())
    path = tmp_path / "usage" / "attempt-1.rank-0.json"
    path.write_text(path.read_text().replace("{", '{"invented_later": 1, ', 1))
    assert pieces(tmp_path) == [piece()]


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, piece(samples=1))

    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(OSError, match="No space"):
        write(tmp_path, piece(samples=2))
    assert [p.samples for p in pieces(tmp_path)] == [1]
    assert len(list((tmp_path / "usage").iterdir())) == 1, "no temporary file is left"
