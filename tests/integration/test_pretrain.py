"""`Pretrain` from files of texts to a model, killed and on two ranks, against a loop of its own."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path
from typing import Any

import pyarrow
import pytest
import tiny_chat
import torch
from forked_command import Command
from killed_runs import digests, faults
from pyarrow import parquet
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM

from nimble_lightning.llm.text_sources import held_out

SETTINGS = (
    "trainer=nimble_lightning.llm:Pretrain",
    *("params.data=texts.jsonl", "params.length=64", "data.batch_size=4", "lightning.accelerator=cpu"),
    *("optim.lr=3e-3", "lightning.max_epochs=1"),
)
TOKENIZER = tiny_chat.tokenizer()
WORDS = ("the", "red", "cat", "sees", "a", "blue", "dog", "and", "likes", "the", "bird", "who", "sings")


@pytest.fixture(autouse=True)
def _material() -> None:
    tiny_chat.save(Path("tiny"))
    chance = random.Random(0)
    texts = [" ".join(chance.choices(WORDS, k=chance.randint(2, 60))) for _ in range(150)]
    tiny_chat.write(Path("texts.jsonl"), [{"text": text} for text in texts])


def train(name: str, *words: str, code: int = 0) -> Path:
    Command(*SETTINGS, "params.model=tiny", f"run_id={name}", *words).end_with(code)
    return Path("outputs/Pretrain", name)


def record(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "run.json").read_text())
    assert found["status"] == "finished"
    return found


def tokens_of(text: str) -> list[int]:
    ids = TOKENIZER(text, add_special_tokens=False).input_ids
    return [TOKENIZER.eos_token_id, *ids, TOKENIZER.eos_token_id]


def text_of(ids: list[int]) -> str:
    return str(TOKENIZER.decode([token for token in ids if token != 2]))


@torch.no_grad()
def loss_of(model: Any, texts: list[str]) -> float:
    """The mean over all tokens, one text after another in the rows they lie in, by transformers alone."""
    total, count, room = 0.0, 0, 64
    for text in texts:
        ids = tokens_of(text)
        inputs, labels, at = ids[:-1], ids[1:], 0
        while at < len(inputs):
            size = min(room, len(inputs) - at)
            logits = model.eval()(input_ids=torch.tensor([inputs[at : at + size]])).logits[0]
            total += float(cross_entropy(logits, torch.tensor(labels[at : at + size]), reduction="sum"))
            count, at, room = count + size, at + size, room - size or 64
    return total / count


def test_a_model_learns_every_token_once_and_its_loss_is_exact() -> None:
    words = ("params.eval_share=0.2", "+lightning.val_check_interval=7", "callbacks.usage_report=true")
    run = train("whole", *words, "lightning.max_epochs=2")
    texts = [json.loads(line)["text"] for line in Path("texts.jsonl").read_text().splitlines()]
    held = [text for text in texts if held_out(text, 0.2)]
    metrics = record(run)["metrics"]
    found = loss_of(AutoModelForCausalLM.from_pretrained(run / "best"), held)
    assert metrics["val_loss"] == pytest.approx(found, abs=1e-5)
    assert metrics["perplexity"] == pytest.approx(math.exp(metrics["val_loss"]))
    assert metrics["val_loss"] < 0.9 * loss_of(AutoModelForCausalLM.from_pretrained("tiny"), held)
    begun = json.loads((run / "show/01.json").read_text())
    assert [row["beginning"] for row in begun] == [text_of(tokens_of(text)[1:17]) for text in held[:3]]
    trained = sum(len(tokens_of(text)) - 1 for text in texts if text not in held)
    assert json.loads((run / "usage.json").read_text())["tokens"] == {
        "value": 2 * trained,
        "kind": "measured",
        "note": "of texts; padding is not counted",
    }
    log = (run / "log.txt").read_text()
    assert "rows of 64 tokens, all learned" in log


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("one", ("data.num_workers=1",)),
        pytest.param(
            "two", ("lightning.devices=2", "strategy=ddp", "data.batch_size=2"), marks=pytest.mark.slow
        ),
        pytest.param(
            "pieces",
            ("data.micro_batch_size=1", "lightning.accumulate_grad_batches=2"),
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_run_that_is_killed_goes_on_with_the_same_bits(name: str, words: tuple[str, ...]) -> None:
    often = (*words, "callbacks.auto_retry.save_every_n_steps=3", "params.eval_share=0.1")
    runs = [train("calm", *often), train("killed", *often, *faults("kill@step=5,attempt=1"))]
    assert len(record(runs[1])["attempts"]) == 2
    calm, killed = map(digests, runs)
    assert calm == killed
    saved = torch.load(max((runs[0] / "checkpoints/steps").glob("*.ckpt")), weights_only=True)
    assert saved["NimbleData"]["train"]["epoch"] == 1


@pytest.mark.slow
def test_two_ranks_learn_what_one_does() -> None:
    one = record(train("one", "params.eval_share=0.2"))["metrics"]
    words = ("lightning.devices=2", "strategy=ddp", "data.batch_size=2", "params.eval_share=0.2")
    two = record(train("two", *words))["metrics"]
    assert two["global_step"] == one["global_step"]
    assert two["val_loss"] == pytest.approx(one["val_loss"], abs=1e-4)


@pytest.mark.slow
def test_parquet_is_read_in_a_process_of_its_own_and_after_a_kill() -> None:
    texts = [json.loads(line)["text"] for line in Path("texts.jsonl").read_text().splitlines()]
    parquet.write_table(pyarrow.table({"said": texts}), "texts.parquet", row_group_size=20)
    words = ("params.data=texts.parquet", "params.field=said", "data.num_workers=1", "params.eval_share=0.1")
    often = (*words, "callbacks.auto_retry.save_every_n_steps=3")
    runs = [train("calm", *often), train("killed", *often, *faults("kill@step=5,attempt=1"))]
    assert digests(runs[0]) == digests(runs[1])


@pytest.mark.slow
def test_a_model_is_drawn_anew_from_its_sizes_and_says_so() -> None:
    words = ("params.model=null", "params.config=tiny", "lightning.max_steps=2", "params.prompts=[the red]")
    run = train("drawn", *words, "params.cross_documents=true")
    log = (run / "log.txt").read_text()
    assert "no weights are read" in log
    assert "and see each other" in log
    shown = json.loads((run / "show/01.json").read_text())
    assert shown[0]["beginning"] == "the red"


def test_a_bad_line_far_into_the_data_ends_the_run_in_words_and_is_not_tried_again() -> None:
    with open("texts.jsonl", "a") as texts:
        texts.write('{"txt": "the cat"}\n')
    said = Command(*SETTINGS, "data.num_workers=1", "run_id=bad", "params.model=tiny").end_with(2)
    assert "texts.jsonl:151: no 'text', it has txt" in said
    assert "Traceback" not in said
    assert len(json.loads(Path("outputs/Pretrain/bad/run.json").read_text())["attempts"]) == 1
