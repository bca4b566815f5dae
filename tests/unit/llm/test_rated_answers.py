"""Rated answers: whose answer stands for another's, what a piece of a batch knows, what is refused."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import tiny_chat

from nimble_lightning.errors import RequestError
from nimble_lightning.llm.chat_masks import ChatEncoder
from nimble_lightning.llm.packing import IGNORED, Example
from nimble_lightning.llm.rated_answers import RatedAnswer, collate_rated, read_rated, with_unrelated
from nimble_lightning.ops.batches import size_of, split

ROW = {"prompt": "a", "completion": "b", "label": True}


def rated(prompt: int, answer: int, *, good: bool = True) -> RatedAnswer:
    return RatedAnswer(Example([prompt, prompt, answer], [IGNORED, IGNORED, answer]), good)


def read(*rows: Any) -> list[RatedAnswer]:
    path = tiny_chat.write(Path("rated.jsonl"), rows)
    return list(read_rated(path, ChatEncoder(tiny_chat.tokenizer(), ["<|im_end|>"], "last_answer"), 64))


def test_every_answer_stands_for_one_to_something_else_once() -> None:
    # Two to each prompt, as pairs give that were taken apart: the one before is no answer to something else.
    answers = [rated(prompt, 10 * prompt + n, good=not n) for prompt in range(1, 6) for n in (0, 1)]
    found = with_unrelated(answers, 64)
    assert Counter(a.unrelated.ids[-1] for a in found) == Counter(a.text.ids[-1] for a in answers)
    for answer in found:
        assert answer.unrelated.ids[:2] == answer.text.ids[:2]
        assert answer.unrelated.ids[-1] // 10 != answer.text.ids[0]
        assert answer.unrelated.labels == [IGNORED, IGNORED, answer.unrelated.ids[-1]]


@pytest.mark.parametrize("count", [1, 3])
def test_answers_that_are_all_to_the_same_are_refused(count: int) -> None:
    with pytest.raises(RequestError, match=f"{count} rated answers, all to the same"):
        with_unrelated([rated(1, n) for n in range(count)], 64)


def test_a_piece_of_a_batch_has_the_unrelated_answers_of_all_of_it() -> None:
    answers = with_unrelated([rated(n, 10 * n) for n in range(1, 6)], 64)
    batch = collate_rated([[answer] for answer in answers])
    assert size_of(batch) == 5
    pieces = list(split(batch, 2))
    assert [piece["input_ids"].shape[0] for piece in pieces] == [2, 2, 1]
    assert all(piece["unrelated"] is batch["unrelated"] for piece in pieces)
    assert batch["unrelated"].to("cpu").batch["input_ids"].shape[0] == 5


def test_every_usual_form_is_read() -> None:
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    forms = [
        ROW,
        {"prompt": turns[:1], "completion": turns[1:], "label": True},
        {"messages": turns, "label": 1},
        {"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}], "label": True},
        {"instruction": "a", "output": "b", "kto_tag": True},
    ]
    found = read(*forms, {**ROW, "label": False})
    assert [answer.desirable for answer in found] == [True] * 5 + [False]
    assert all(answer.text == found[0].text for answer in found)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"prompt": "a", "completion": "b"}, "no label, it has prompt, completion; expected label: true or"),
        ({"prompt": "a", "chosen": "b", "rejected": "c"}, "no label.*pairs are for DPO"),
        ({**ROW, "label": "good"}, "its label is 'good', expected true or false"),
        ({**ROW, "label": 0.5}, "its label is 0.5, expected"),
        ({**ROW, "completion": None}, "turn 2 says nothing"),
        ({**ROW, "completion": "b " * 90}, "rows have 64"),
        ({"messages": [{"role": "user", "content": "a"}], "label": True}, "its last turn is not an"),
        ({"text": "a", "label": True}, "of no known format"),
    ],
)
def test_what_cannot_be_learned_from_is_named_by_its_line(row: dict[str, Any], said: str) -> None:
    with pytest.raises(RequestError, match=f"rated.jsonl:2: .*{said}"):
        read(ROW, row)
