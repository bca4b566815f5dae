from __future__ import annotations

import json
from collections import Counter
from itertools import islice, takewhile
from pathlib import Path
from typing import Any

import pytest

from nimble_lightning.data.placed_stream import StreamOrder
from nimble_lightning.errors import RequestError
from nimble_lightning.llm import text_files
from nimble_lightning.llm.text_sources import Cursor, TextReading, TextSource, held_out, text_sources

ORDER = StreamOrder(1, 0, True)


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_files, "BLOCK", 64)


def written(folder: Path, count: int, name: str = "a") -> Path:
    path = folder / f"{name}.jsonl"
    path.write_text("".join(json.dumps({"text": f"{name} {number}"}) + "\n" for number in range(count)))
    return path


def source(folder: Path, count: int = 200) -> TextSource:
    return text_sources(str(written(folder, count)), TextReading())[0]


def everything(text: str) -> bool:
    return True


def once(source: TextSource, order: StreamOrder = ORDER) -> list[str]:
    found = source.texts(order, everything, Cursor())
    return [text for _, text in takewhile(lambda pair: not pair[0].passed, found)]


def test_going_through_once_reads_every_text_once_in_an_order_of_its_seed_and_epoch(tmp_path: Path) -> None:
    texts = once(source(tmp_path))
    assert sorted(texts) == sorted(f"a {number}" for number in range(200))
    again = [once(source(tmp_path), order) for order in (ORDER, ORDER._replace(epoch=1))]
    assert again[0] == texts
    assert again[1] != texts
    assert once(source(tmp_path), ORDER._replace(shuffle=False)) == [f"a {number}" for number in range(200)]


def test_texts_that_stand_together_do_not_stay_together(tmp_path: Path) -> None:
    numbers = [int(text[2:]) for text in once(source(tmp_path, 2000))]
    near = sum(abs(one - other) <= 3 for one, other in zip(numbers, numbers[1:], strict=False))
    assert near < 0.1 * len(numbers)


@pytest.mark.parametrize("at", [0, 1, 7, 60, 150, 199])
def test_any_cursor_goes_on_with_what_would_have_come_and_into_the_next_round(
    at: int, tmp_path: Path
) -> None:
    found = list(islice(source(tmp_path).texts(ORDER, everything, Cursor()), 450))
    start = found[at][0]
    assert list(islice(source(tmp_path).texts(ORDER, everything, start), 450 - at)) == found[at:]
    after = start._replace(text=start.text + 1)
    assert list(islice(source(tmp_path).texts(ORDER, everything, after), 449 - at)) == found[at + 1 :]


def test_a_source_without_anything_to_keep_ends(tmp_path: Path) -> None:
    assert list(source(tmp_path).texts(ORDER, lambda text: False, Cursor())) == []


def test_what_is_held_out_depends_on_the_text_alone_and_is_as_much_as_asked_for() -> None:
    held = [held_out(f"text {number}", 0.1) for number in range(10_000)]
    assert 900 < sum(held) < 1100
    assert [held_out(f"text {number}", 0.1) for number in range(10_000)] == held
    assert not any(held_out(f"text {number}", 0.0) for number in range(100))


def test_files_folders_and_patterns_are_one_source_and_weights_make_several(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    a, b = written(tmp_path, 3), written(tmp_path / "deep", 3, "b")
    (tmp_path / "notes.md").write_text("none of it")
    for data in (str(tmp_path), [str(a), str(b)], f"{tmp_path}/**/*.jsonl"):
        (found,) = text_sources(data, TextReading())
        assert Counter(file.path.name for file in found.files) == {"a.jsonl": 1, "b.jsonl": 1}
    weighed = text_sources([{"path": str(a), "weight": 3}, {"path": str(b), "weight": 0.5}], TextReading())
    assert [one.weight for one in weighed] == [3, 0.5]


@pytest.mark.parametrize(
    ("data", "why"),
    [
        ("b.jsonl", "no such file; did you mean a.jsonl"),
        ("none/*.jsonl", "no such file"),
        ("a.md", "expected files ending in .txt, .jsonl, .parquet"),
        ([], "names nothing"),
        ([{"path": "a.jsonl", "wieght": 2}], "did you mean weight"),
        ([{"path": "a.jsonl", "weight": 0}], "expected a number above 0"),
        ([{"path": "a.jsonl", "weight": 1}, "a.jsonl"], "a.jsonl has no weight, and others have"),
        ([3], "expected a path"),
    ],
)
def test_what_cannot_be_a_source_is_refused(data: Any, why: str, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    written(Path(), 3)
    Path("a.md").write_text("text")
    with pytest.raises(RequestError, match=why):
        text_sources(data, TextReading())
