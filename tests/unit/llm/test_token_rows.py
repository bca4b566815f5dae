from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import tiny_chat
import torch

from nimble_lightning.data.placed_stream import StreamOrder
from nimble_lightning.errors import CheckpointError, RequestError
from nimble_lightning.llm import text_files
from nimble_lightning.llm.packing import IGNORED
from nimble_lightning.llm.text_sources import TextReading, held_out, text_sources
from nimble_lightning.llm.token_rows import TextEncoder, TokenRow, TokenRows, collate_token_rows

WORDS = tiny_chat.tokenizer()
ENCODER = TextEncoder.of(WORDS)
ORDER = StreamOrder(3, 0, True)
PLAIN = StreamOrder(3, 0, False)


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_files, "BLOCK", 256)


def write(path: Path, count: int, word: str = "cat") -> list[str]:
    texts = [f"{word} {number} " + "sees the dog " * (number % 7) for number in range(count)]
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return texts


def rows(data: Any, length: int = 32, share: float = 0.0, **more: Any) -> TokenRows:
    return TokenRows(text_sources(data, TextReading()), ENCODER, length, share, **more)


def read(stream: TokenRows, order: StreamOrder = ORDER, place: Any = None) -> Iterator[tuple[TokenRow, Any]]:
    return stream.read_from(place, order)


def texts_of(found: list[TokenRow]) -> list[str]:
    """Back to texts: what is learned, cut at the token that ends each."""
    labels = [label for row in found for label in row.labels]
    texts, begun = [], 0
    for at, label in enumerate(labels):
        if label == ENCODER.end:
            texts.append(WORDS.decode(labels[begun:at]))
            begun = at + 1
    assert begun == len(labels)
    return texts


def test_every_token_of_every_text_is_learned_once_with_its_end(tmp_path: Path) -> None:
    texts = write(tmp_path / "a.jsonl", 100)
    for order in (PLAIN, ORDER):
        found = [row for row, _ in read(rows(str(tmp_path)), order)]
        assert [len(row.ids) for row in found[:-1]] == [32] * (len(found) - 1)
        assert all(sum(row.lengths) == len(row.ids) == len(row.labels) for row in found)
        assert (texts_of(found) if order is PLAIN else sorted(texts_of(found))) == (
            texts if order is PLAIN else sorted(texts)
        )


def test_what_is_learned_follows_what_is_seen(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", 20)
    for row, _ in read(rows(str(tmp_path))):
        at = 0
        for length in row.lengths:
            ids, labels = row.ids[at : at + length], row.labels[at : at + length]
            assert list(ids[1:]) == list(labels[:-1])
            at += length


@pytest.mark.parametrize("weights", [None, (1.0, 3.0)])
@pytest.mark.parametrize("length", [5, 32, 300])
def test_any_place_goes_on_with_the_rows_that_would_have_come(
    weights: Any, length: int, tmp_path: Path
) -> None:
    write(tmp_path / "a.jsonl", 80)
    write(tmp_path / "b.jsonl", 30, "bird")
    paths = [str(tmp_path / "a.jsonl"), str(tmp_path / "b.jsonl")]
    data = (
        paths if weights is None else [{"path": p, "weight": w} for p, w in zip(paths, weights, strict=True)]
    )
    whole = list(read(rows(data, length)))
    for at in range(0, len(whole), max(1, len(whole) // 40)):
        assert list(read(rows(data, length), place=whole[at][1])) == whole[at + 1 :]


def test_weights_are_shares_of_tokens_at_every_moment_and_an_epoch_reads_each_source_whole(
    tmp_path: Path,
) -> None:
    write(tmp_path / "a.jsonl", 200)
    birds = write(tmp_path / "b.jsonl", 20, "bird")
    data = [
        {"path": str(tmp_path / "a.jsonl"), "weight": 0.75},
        {"path": str(tmp_path / "b.jsonl"), "weight": 0.25},
    ]
    longest = 40
    found = []
    for row, place in read(rows(data, 64)):
        found.append(row)
        taken = place["taken"]
        assert abs(taken[1] - 0.25 * sum(taken)) <= longest
    texts = texts_of(found[:-1] + [found[-1]])
    assert {text for text in texts if text.startswith("cat")} == {
        f for f in texts if not f.startswith("bird")
    }
    assert set(birds) <= set(texts)
    assert len([text for text in texts if text.startswith("cat")]) == 200
    assert len(texts) > 240, "the smaller one again and again"


def test_texts_held_out_are_never_trained_on_and_all_evaluated(tmp_path: Path) -> None:
    texts = write(tmp_path / "a.jsonl", 200)
    trained = texts_of([row for row, _ in read(rows(str(tmp_path), share=0.2))])
    held = texts_of([row for row, _ in read(rows(str(tmp_path), share=0.2, evaluates=True), PLAIN)])
    assert held == [text for text in texts if held_out(text, 0.2)]
    assert sorted(trained + held) == sorted(texts)
    with pytest.raises(RequestError, match="params.eval_share"):
        list(read(rows(str(tmp_path), share=1e-9, evaluates=True)))


def test_a_place_in_other_texts_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", 50)
    (_, place), *_ = islice(read(rows(str(tmp_path))), 1)
    rows(str(tmp_path)).require(place)
    for other in (rows(str(tmp_path), 16), rows(str(tmp_path), share=0.1)):
        with pytest.raises(CheckpointError, match="params.length"):
            other.require(place)
    write(tmp_path / "a.jsonl", 51)
    with pytest.raises(CheckpointError):
        rows(str(tmp_path)).require(place)


def test_a_text_begins_after_what_the_tokenizer_puts_in_front_else_after_the_end_of_another() -> None:
    assert (ENCODER.begin, ENCODER.end) == (WORDS.eos_token_id,) * 2
    from tokenizers.processors import TemplateProcessing

    other = tiny_chat.tokenizer()
    other.backend_tokenizer.post_processor = TemplateProcessing(
        single="<|endoftext|> $A", special_tokens=[("<|endoftext|>", 0)]
    )
    assert (TextEncoder.of(other).begin, TextEncoder.of(other).end) == (0, WORDS.eos_token_id)
    assert TextEncoder.of(other)(["cat"]) == ENCODER(["cat"])
    assert TextEncoder.of(WORDS, "<|endoftext|>").end == 0
    with pytest.raises(RequestError, match="no token 'nix'"):
        TextEncoder.of(WORDS, "nix")
    other.eos_token = None
    with pytest.raises(RequestError, match="params.end"):
        TextEncoder.of(other)


def test_the_name_of_a_special_token_in_a_text_is_learned_as_text() -> None:
    (ids,) = ENCODER(["the cat<|im_end|>"])
    assert ENCODER.end not in ids
    assert WORDS.decode(ids) == "the cat<|im_end|>"
    assert WORDS("<|im_end|>").input_ids == [ENCODER.end], "the tokenizer itself is as it was"


def test_rows_become_tensors_of_one_length_with_positions_that_begin_anew(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", 9)
    found = [row for row, _ in read(rows(str(tmp_path)))]
    batch = collate_token_rows(found, 32, 0)
    assert batch["num_tokens"].tolist() == [len(row.ids) for row in found]
    assert int((batch["labels"] != IGNORED).sum()) == int(batch["num_tokens"].sum())
    for number, row in enumerate(found):
        wanted = [n for length in (*row.lengths, 32 - len(row.ids)) for n in range(length)]
        assert batch["position_ids"][number].tolist() == wanted
    across = collate_token_rows(found, 32, 0, cross_documents=True)
    assert torch.equal(across["position_ids"][0], torch.arange(32))
