"""Lines come out whole and complete, the last group first, wherever the chunks are cut."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from nimble_lightning.report.curves import chunks


@given(st.lists(st.text("ab\r é", max_size=9), max_size=30), st.integers(1, 40), st.text("xy", max_size=5))
def test_nothing_is_lost_or_cut(words: list[str], size: int, torn: str) -> None:
    lines = [word.encode() for word in words]
    path = Path("lines")
    path.write_bytes(b"".join(line + b"\n" for line in lines) + torn.encode())
    groups = list(chunks(path, size=size))
    assert [line for group in reversed(groups) for line in group] == lines


def test_it_stops_where_it_is_told_to() -> None:
    path = Path("lines")
    path.write_bytes(b"head\none\ntwo\n")
    assert [line for group in chunks(path, begin=5, size=3) for line in group] == [b"two", b"one"]


def test_an_empty_file_has_no_lines() -> None:
    Path("lines").touch()
    assert list(chunks(Path("lines"))) == []
