"""`RewardModel` learns to tell the better answer; transformers opens it and finds the same rewards."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import tiny_chat
import torch
from forked_command import Command
from killed_runs import faults
from torch.nn.functional import logsigmoid
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

import nimble_lightning as nl
from nimble_lightning.checkpoint.full_weights import weights_of
from nimble_lightning.commands import main
from nimble_lightning.errors import RequestError
from nimble_lightning.llm.packing import IGNORED, Example
from nimble_lightning.llm.preference_pairs import Pair
from nimble_lightning.llm.reward_model import collate_rewarded

TURNS = [talk["messages"] for talk in tiny_chat.conversations(48)]
PAIRS = [
    {"prompt": t[0]["content"], "chosen": t[1]["content"], "rejected": "who why", "margin": 0.1 * (n % 3)}
    for n, t in enumerate(TURNS)
]
PARAMS = {"model": "tiny", "data": "pairs.jsonl", "eval_data": "more.jsonl", "longest": 128}


@pytest.fixture(autouse=True)
def _material() -> None:
    tiny_chat.save(Path("tiny"))
    tiny_chat.write(Path("pairs.jsonl"), PAIRS[:40])
    tiny_chat.write(Path("more.jsonl"), PAIRS[40:])


def train(**params: Any) -> Any:
    return nl.run(
        "nimble_lightning.llm:RewardModel",
        params={**PARAMS, **params},
        data={"batch_size": 3},
        lightning={"accelerator": "cpu", "max_epochs": 4},
        optim={"lr": 5e-3},
        launch="inline",
    )


@torch.no_grad()
def rewards(folder: Path, name: str) -> torch.Tensor:
    """As anybody would ask for them, padded and all at once."""
    words = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    assert model.config.num_labels == 1
    talks = [
        [{"role": "user", "content": p["prompt"]}, {"role": "assistant", "content": p[name]}]
        for p in PAIRS[40:]
    ]
    texts = words.apply_chat_template(talks, tokenize=False)
    given = words(texts, padding=True, add_special_tokens=False, return_tensors="pt")
    return model(input_ids=given["input_ids"], attention_mask=given["attention_mask"]).logits[:, 0]


def test_its_figures_are_those_of_what_transformers_opens() -> None:
    result = train(center=0.01)
    chosen, rejected = (rewards(result.folder / "best", name) for name in ("chosen", "rejected"))
    margin = torch.tensor([pair["margin"] for pair in PAIRS[40:]])
    losses = -logsigmoid(chosen - rejected - margin) + 0.01 * (chosen + rejected).square()
    assert result.metrics["val_loss"] == pytest.approx(float(losses.mean()), abs=1e-5)
    assert result.metrics["accuracy"] == pytest.approx(float((chosen > rejected).float().mean()))
    assert result.metrics["margin"] == pytest.approx(float((chosen - rejected).mean()), abs=1e-5)
    assert result.metrics["accuracy"] > 0.8
    assert "model=tiny has no head for rewards; it gets one" in (result.folder / "log.txt").read_text()


def test_its_batches_tell_how_many_tokens_are_no_padding() -> None:
    short, long = (Example(list(range(1, 1 + length)), [IGNORED] * length) for length in (2, 5))
    batch = collate_rewarded([[Pair(short, long)], [Pair(short, short)]], 0)
    assert batch["input_ids"].shape == (2, 7)
    assert batch["num_tokens"].tolist() == [7, 4]
    assert batch["last"].tolist() == [[1, 6], [1, 3]]


@pytest.mark.slow
def test_with_an_adapter_the_head_is_trained_and_merged_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("peft")
    result = train(rank=4)
    words = ["export", str(result.folder), "--to", "merged", "--out", str(tmp_path), "--trust"]
    assert main.main(words) == 0, capsys.readouterr().err
    ahead = rewards(tmp_path / "merged", "chosen") - rewards(tmp_path / "merged", "rejected")
    assert result.metrics["margin"] == pytest.approx(float(ahead.mean()), abs=1e-4)


def test_a_margin_that_is_no_number_is_named_by_its_line() -> None:
    tiny_chat.write(Path("pairs.jsonl"), [PAIRS[0], {**PAIRS[1], "margin": "much"}])
    with pytest.raises(RequestError, match=r"pairs.jsonl:2: its margin is 'much', expected a number"):
        train()


def test_a_head_that_is_no_reward_is_refused() -> None:
    known = AutoConfig.from_pretrained("tiny", num_labels=3)
    AutoModelForSequenceClassification.from_config(known).save_pretrained("tiny")
    with pytest.raises(RequestError, match="model=tiny tells 3 classes apart; a reward is one number"):
        train()


@pytest.mark.slow
def test_a_killed_run_on_two_ranks_ends_with_the_same_bits() -> None:
    params = [f"params.{key}={value}" for key, value in PARAMS.items()]
    words = [
        "trainer=nimble_lightning.llm:RewardModel",
        *params,
        "data.batch_size=2",
        "lightning.max_epochs=2",
    ]
    words += ["lightning.accelerator=cpu", "lightning.devices=2", "strategy=ddp"]
    Command(*words, "run_id=whole").end_with(0)
    Command(*words, "run_id=killed", *faults("kill@step=3,attempt=1")).end_with(0)
    runs = [Path("outputs/RewardModel", name) for name in ("whole", "killed")]
    assert [len(json.loads((run / "run.json").read_text())["attempts"]) for run in runs] == [1, 2]
    best = [json.loads((run / "run.json").read_text())["best_checkpoint"] for run in runs]
    one, other = map(weights_of, best)
    assert all(torch.equal(one[name], other[name]) for name in one)
