"""What was shown is on the page if it is small, beside it if it is large, and said if it is neither."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import report_cases as cases

from nimble_lightning.report import samples

SHOW = Path("show")


def ready(*entries: dict[str, Any]) -> list[samples.Sample]:
    return samples.ready(entries, SHOW)


def entry(name: str, content: Any, kind: str) -> dict[str, Any]:
    cases.write(SHOW / name, content)
    return {"caption": "c", "file": name, "kind": kind}


def test_small_pictures_are_inside_and_large_ones_beside() -> None:
    small, large = ready(entry("1.png", "x" * 9, "image"), entry("2.png", "x" * samples.MOST_INSIDE, "image"))
    assert small.source == "data:image/png;base64,eHh4eHh4eHh4"
    assert large.source == "show/2.png"


def test_all_together_stay_within_what_goes_through_the_mail() -> None:
    found = ready(*(entry(f"{k}.wav", "x" * 100_000, "audio") for k in range(30)))
    assert sum(len(s.source) for s in found) <= samples.ALL_INSIDE + 30 * 20
    assert found[-1].source == "show/29.wav"


def test_tables_of_any_likely_form_have_columns_and_rows() -> None:
    records, columns, pairs, plain = ready(
        entry("1.json", [{"a": 1, "b": 2}, {"b": None}], "table"),
        entry("2.json", {"x": [1, 2], "y": [3, 4]}, "table"),
        entry("3.json", {"x": 1, "y": {"z": 2}}, "table"),
        entry("4.json", [[1, 2], [3, 4]], "table"),
    )
    assert (records.head, records.rows) == (["a", "b"], [["1", "2"], ["", "null"]])
    assert (columns.head, columns.rows) == (["x", "y"], [["1", "3"], ["2", "4"]])
    assert (pairs.head, pairs.rows) == ([], [["x", "1"], ["y", '{"z": 2}']])
    assert plain.rows == [["1", "2"], ["3", "4"]]


def test_what_is_left_out_is_said() -> None:
    (table,) = ready(entry("1.json", [[0] * 50] * 100, "table"))
    assert (len(table.rows), len(table.rows[0])) == (40, 16)
    assert table.more == "60 more rows and 34 more columns"
    (text,) = ready(entry("1.txt", "word " * 10_000, "text"))
    assert len(text.text) <= 12_000
    assert text.more


def test_an_error_stands_in_its_place() -> None:
    before, error, after = ready(
        entry("1.txt", "a", "text"),
        {"caption": "c", "error": "KeyError", "line": "f.py:3"},
        entry("3.txt", "b", "text"),
    )
    assert (before.text, error.kind, error.text, after.text) == ("a", "error", "KeyError (f.py:3)", "b")


def test_a_file_that_is_gone_or_elsewhere_is_an_error() -> None:
    cases.write(Path("secret.txt"), "s")
    found = ready(
        {"caption": "", "file": "../secret.txt", "kind": "text"}, {"file": "no.png", "kind": "image"}, {}
    )
    assert [s.kind for s in found] == ["error"] * 3


def test_a_marked_text_is_its_pieces_and_no_longer_than_others() -> None:
    content = [["a\x1b ", False], ["b", True], ["c" * 20_000, False], ["d", True]]
    (found,) = ready(entry("1.json", content, "marked"))
    assert found.kind == "marked"
    assert [row[1] for row in found.rows] == ["", "x", ""]
    assert found.rows[0][0] == "a\\x1b "
    assert sum(len(text) for text, _ in found.rows) <= 12_100
    (other,) = ready(entry("2.json", {"a": 1}, "marked"))
    assert other.kind == "text"


def test_a_table_that_is_none_is_shown_as_text() -> None:
    (found,) = ready(entry("1.json", "not json", "table"))
    assert (found.kind, found.text) == ("text", "not json")
    (found,) = ready(entry("2.json", json.dumps("a word"), "table"))
    assert found.kind == "text"
