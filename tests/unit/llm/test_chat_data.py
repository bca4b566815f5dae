"""How often each source of conversations is taken, and which of them are held out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from nimble_lightning.llm.chat_data import ChatReader
from nimble_lightning.llm.conversations import Source
from nimble_lightning.llm.packing import Example


class Numbering:
    """An example is the number that a conversation asks about."""

    rewrites = 0

    def __call__(self, messages: Any, tools: Any = None) -> list[Example]:
        return [Example([int(messages[0]["content"]), 1], [-100, 1])]


def source(name: str, numbers: range, weight: float) -> Source:
    answer = {"role": "assistant", "content": "yes"}
    rows = [{"messages": [{"role": "user", "content": str(n)}, answer]} for n in numbers]
    Path(name).write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return Source(Path(name), weight)


@pytest.mark.parametrize(
    ("weight", "taken"),
    [
        (1.0, [0, 1, 2, 3]),
        (0.5, [1, 3]),
        (0.25, [3]),
        (2.0, [0, 1, 2, 3, 0, 1, 2, 3]),
        (2.5, [0, 1, 2, 3, 0, 1, 2, 3, 1, 3]),
    ],
)
def test_a_source_is_taken_as_often_as_its_weight_says(weight: float, taken: list[int]) -> None:
    reader = ChatReader(Numbering(), 8)  # type: ignore[arg-type]
    read = reader.read([source("some.jsonl", range(4), weight), source("others.jsonl", range(10, 12), 1.0)])
    assert [example.ids[0] for example in read] == [*taken, 10, 11]


def test_what_is_held_out_is_taken_once_and_trained_on_never() -> None:
    reader = ChatReader(Numbering(), 8, share=0.25)  # type: ignore[arg-type]
    read = [example.ids[0] for example in reader.read([source("some.jsonl", range(8), 2.0)])]
    assert [example.ids[0] for example in reader.held_out] == [3, 7]
    assert read == [0, 1, 2, 4, 5, 6] * 2
