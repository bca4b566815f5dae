from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nimble_lightning.errors import RequestError
from nimble_lightning.llm import text_files
from nimble_lightning.llm.text_files import JsonLines, ParquetTexts, TextFile, TextLines, WholeText


def all_texts(file: TextFile) -> list[str]:
    return [text for block in range(file.blocks) for text in file.texts(block)]


@given(texts=st.lists(st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1), min_size=1))
@settings(max_examples=20, deadline=None)
def test_each_text_is_in_one_block_wherever_the_borders_of_blocks_fall(
    texts: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("texts")
    (folder / "a.jsonl").write_text("".join(json.dumps({"text": text}) + "\n\n" for text in texts))
    (folder / "a.txt").write_text("\n".join(texts), newline="")
    with pytest.MonkeyPatch.context() as patch:
        for size in (1, 3, 16, 50):
            patch.setattr(text_files, "BLOCK", size)
            assert all_texts(JsonLines(folder / "a.jsonl", "text", "refuse")) == texts
            assert all_texts(TextLines(folder / "a.txt", "text", "refuse")) == texts


def test_row_groups_are_the_blocks_of_parquet(tmp_path: Path) -> None:
    texts = [f"text {number}" for number in range(10)]
    pq.write_table(pa.table({"n": range(10), "said": texts}), tmp_path / "a.parquet", row_group_size=4)
    file = ParquetTexts(tmp_path / "a.parquet", "said", "refuse")
    assert file.blocks == 3
    assert file.texts(1) == texts[4:8]
    assert all_texts(file) == texts
    with pytest.raises(RequestError, match=r"no column 'text', it has n, said"):
        ParquetTexts(tmp_path / "a.parquet", "text", "refuse")


def test_a_text_file_is_one_text_and_refused_when_it_is_too_large(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbfone\n\ntwo\n")
    assert all_texts(WholeText(tmp_path / "a.txt", "text", "refuse")) == ["one\n\ntwo\n"]
    monkeypatch.setattr(text_files, "LONGEST", 4)
    with pytest.raises(RequestError, match="params.document=line"):
        WholeText(tmp_path / "a.txt", "text", "refuse").texts(0)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b'{"text": "\xff"}', "not UTF-8: byte 0xff at 10"),
        (b'{"text": "\0"}', "binary"),
        (b'{"txt": "a"}', "no 'text', it has txt"),
        (b'{"text": 3}', "'text' is a int"),
        (b'{"text": " "}', "the text is empty"),
        (b"[1]", "a list, expected an object"),
        (b'{"text": ', "not JSON"),
    ],
)
def test_what_is_no_text_is_refused_with_its_line_or_left_out_when_asked_to(
    line: bytes, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"text": "one"}\n' * 5 + line + b'\n{"text": "two"}\n')
    monkeypatch.setattr(text_files, "BLOCK", 20)
    with pytest.raises(RequestError, match=f"a.jsonl:6: {why}") as refused:
        all_texts(JsonLines(path, "text", "refuse"))
    assert "params.unreadable=skip" in str(refused.value)
    assert all_texts(JsonLines(path, "text", "skip")) == ["one"] * 5 + ["two"]
    assert "a.jsonl:6" in caplog.text


def test_an_empty_file_and_one_that_is_no_parquet_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").touch()
    with pytest.raises(RequestError, match=r"a.jsonl is empty"):
        JsonLines(tmp_path / "a.jsonl", "text", "refuse")
    (tmp_path / "a.parquet").write_text("no parquet")
    with pytest.raises(RequestError, match=r"cannot be read as parquet"):
        ParquetTexts(tmp_path / "a.parquet", "text", "refuse")
