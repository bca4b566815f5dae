"""Every usual format is read; what is not read is named by file and line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tiny_chat import conversations, tokenizer, write

from nimble_lightning.errors import RequestError
from nimble_lightning.llm.chat_data import ChatReader
from nimble_lightning.llm.chat_masks import ChatEncoder
from nimble_lightning.llm.conversations import Source, read, sources_of

TALK = [{"role": "user", "content": "who?"}, {"role": "assistant", "content": "a cat"}]
SAME: list[dict[str, Any]] = [
    {"messages": TALK},
    {"conversations": [{"from": "human", "value": "who?"}, {"from": "gpt", "value": "a cat"}]},
    {"instruction": "who?", "input": "", "output": "a cat"},
    {"prompt": "who?", "completion": "a cat"},
    {"prompt": TALK[:1], "completion": TALK[1:]},
    {
        "messages": [{**TALK[0], "content": [{"type": "text", "text": "who?"}]}, TALK[1]],
        "conversation_id": "7",
    },
]


@pytest.mark.parametrize("row", SAME, ids=["messages", "sharegpt", "alpaca", "prompt", "lists", "parts"])
def test_one_conversation_in_every_format(tmp_path: Path, row: dict[str, Any]) -> None:
    (found,) = read(write(tmp_path / "a.jsonl", [row]))
    assert found.messages == TALK
    assert found.place == f"{tmp_path}/a.jsonl:1"


def test_an_input_follows_its_instruction_and_tools_are_kept(tmp_path: Path) -> None:
    rows = [
        {"instruction": "add", "input": "1 2", "output": "3"},
        {"messages": TALK, "tools": [{"name": "f"}]},
    ]
    first, second = read(write(tmp_path / "a.jsonl", rows))
    assert first.messages[0]["content"] == "add\n\n1 2"
    assert second.tools == [{"name": "f"}]


def test_json_and_parquet_hold_the_same(tmp_path: Path) -> None:
    rows = conversations(5)
    (tmp_path / "a.json").write_text(json.dumps(rows))
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    one, two = ([c.messages for c in read(tmp_path / name)] for name in ("a.json", "a.parquet"))
    assert one == two == [row["messages"] for row in rows]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "a.jsonl:2 is not JSON"),
        ("[1]", "a.jsonl:2: a list, expected an object"),
        ('{"question": "a"}', "a.jsonl:2: of no known format, it has question"),
        ('{"messages": []}', "a.jsonl:2: no list of turns"),
        ('{"messages": [{"role": "robot", "content": "a"}]}', "a.jsonl:2: turn 1 is by 'robot'"),
        ('{"messages": [{"role": "user"}]}', "a.jsonl:2: turn 1 says nothing"),
        ('{"messages": [{"role": "user", "content": [{"type": "image"}]}]}', "part of type 'image'"),
        ('{"messages": ["a"]}', "a.jsonl:2: turn 1 is a str"),
    ],
)
def test_a_line_that_is_none_is_named(tmp_path: Path, line: str, said: str) -> None:
    (tmp_path / "a.jsonl").write_text(json.dumps({"messages": TALK}) + "\n" + line + "\n")
    with pytest.raises(RequestError, match=said.replace("[", r"\[")):
        list(read(tmp_path / "a.jsonl"))


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ("chat.jsonl", "did you mean .*chats.jsonl"),
        ("empty", "holds no .jsonl"),
        ("chats.txt", "expected a file ending in"),
        ([{"path": "chats.jsonl", "wieght": 2}], "did you mean weight"),
        ([{"path": "chats.jsonl", "weight": 0}], "above 0"),
        ([{"weight": 2}], "expected a path"),
    ],
)
def test_data_that_is_not_there_is_refused(data: Any, said: str) -> None:
    write(Path("chats.jsonl"), [])
    Path("chats.txt").touch()
    Path("empty").mkdir()
    with pytest.raises(RequestError, match=said):
        sources_of(data)


def test_a_folder_is_all_its_files_and_a_weight_is_how_often() -> None:
    Path("talks").mkdir()
    for number in range(2):
        write(Path(f"talks/{number}.jsonl"), conversations(4, number))
    found = sources_of([{"path": "talks", "weight": 2.5}])
    assert found == [Source(Path("talks/0.jsonl"), 2.5), Source(Path("talks/1.jsonl"), 2.5)]
    reader = ChatReader(ChatEncoder(tokenizer()), 512)
    assert len(list(reader.read(found))) == 20


def test_conversations_that_are_held_out_are_in_no_training_data() -> None:
    write(Path("chats.jsonl"), conversations(40))
    reader = ChatReader(ChatEncoder(tokenizer()), 512, share=0.25)
    trained = [tuple(e.ids) for e in reader.read([Source(Path("chats.jsonl"), 2.0)])]
    held = [tuple(e.ids) for e in reader.held_out]
    assert (len(trained), len(held)) == (60, 10)
    everything = [
        tuple(e.ids) for e in ChatReader(ChatEncoder(tokenizer()), 512).read(sources_of("chats.jsonl"))
    ]
    assert sorted(set(trained) | set(held)) == sorted(set(everything))


def test_a_few_that_cannot_be_learned_from_are_left_out_and_told_and_many_are_refused() -> None:
    silent = {"messages": TALK[:1]}
    write(Path("chats.jsonl"), [*conversations(150), silent])
    reader = ChatReader(ChatEncoder(tokenizer()), 512)
    assert len(list(reader.read(sources_of("chats.jsonl")))) == 150
    assert "1 left out: chats.jsonl:151: nobody answers" in "\n".join(reader.summary.lines())
    write(Path("chats.jsonl"), [*conversations(150), silent, silent])
    with pytest.raises(RequestError, match=r"2 cannot be learned from: chats.jsonl:151: .*\(2 times\)"):
        list(ChatReader(ChatEncoder(tokenizer()), 512).read(sources_of("chats.jsonl")))


@pytest.mark.parametrize(("over_length", "left"), [("drop", 3), ("cut", 5)])
def test_what_is_too_long_is_refused_with_what_would_keep_it_or_dealt_with_as_told(
    over_length: Any, left: int
) -> None:
    long = [{**TALK[0]}, {**TALK[1], "content": "the cat sees " * 40}]
    write(
        Path("chats.jsonl"),
        [*({"messages": TALK} for _ in range(3)), *({"messages": long} for _ in range(2))],
    )
    encoder = ChatEncoder(tokenizer())
    with pytest.raises(
        RequestError, match=r"2 of 5 texts are longer than 60 tokens, the first is chats.jsonl:4"
    ):
        list(ChatReader(encoder, 60).read(sources_of("chats.jsonl")))
    reader = ChatReader(encoder, 60, over_length)
    assert len(list(reader.read(sources_of("chats.jsonl")))) == left
    assert max(reader.summary.lengths) > 60


def test_the_histogram_counts_every_text() -> None:
    write(Path("chats.jsonl"), conversations(30))
    reader = ChatReader(ChatEncoder(tokenizer()), 512)
    list(reader.read(sources_of("chats.jsonl")))
    bars = reader.summary.histogram()
    assert sum(count for _, count in bars) == 30
    assert bars[-1][0] == max(reader.summary.lengths)
