"""`nimble-cli look` shows what would be learned, and needs no weights for it."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny_chat

from nimble_lightning.commands import main


@pytest.fixture(autouse=True)
def _material() -> None:
    tiny_chat.save(Path("tiny"))
    Path("tiny/model.safetensors").unlink()
    tiny_chat.write(Path("chats.jsonl"), tiny_chat.conversations(40))


def test_it_shows_shares_lengths_and_examples_with_what_is_learned(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main.main(["look", "chats.jsonl", "model=tiny", "params.longest=256", "params.eval_share=0"]) == 0
    said = capsys.readouterr().out
    assert "40 conversations, 2,318 tokens, 17.5% of them learned, rows" in said
    assert said.count("Example ") == 3
    first = tiny_chat.conversations(1)[0]["messages"]
    assert f"<|im_start|>assistant\n⟦{first[1]['content']}<|im_end|>⟧" in said
    assert f"user\n{first[0]['content']}<|im_end|>" in said
    counts = [int(line.split()[-1]) for line in said.splitlines() if "█" in line]
    assert sum(counts) == 40


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("model=tiny",), "look needs a file"),
        (("chats.jsonl",), "params.model"),
        (("chats.jsonl", "model=tiny", "params.lerrn=answers"), "did you mean params.learn?"),
        (("chats.jsonl", "model=tiny", "params.learn=answer"), "did you mean 'answers'?"),
        (("chat.jsonl", "model=tiny"), "did you mean chats.jsonl"),
        (("chats.jsonl", "model=./tyni"), "there is no such folder"),
        (("chats.jsonl", "model=tiny", "params.longest=20"), "half of all have up to"),
    ],
)
def test_what_is_wrong_is_refused_in_words(
    words: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.main(["look", *words]) == 2
    found = capsys.readouterr().err
    assert said in found
    assert "Traceback" not in found
