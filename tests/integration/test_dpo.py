"""`DPO` learns which answer is better, from log-probabilities that nobody computes twice."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import tiny_chat
import torch
from torch.nn.functional import logsigmoid
from transformers import AutoModelForCausalLM, AutoTokenizer

import nimble_lightning as nl
from nimble_lightning.errors import RequestError
from nimble_lightning.llm.chat_masks import ChatEncoder
from nimble_lightning.llm.packing import IGNORED

PAIRS = [
    {"prompt": turns[0]["content"], "chosen": turns[1]["content"], "rejected": turns[0]["content"] + " who"}
    for turns in (talk["messages"] for talk in tiny_chat.conversations(48))
]


@pytest.fixture(autouse=True)
def _material(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(Path("home").absolute()))
    tiny_chat.save(Path("tiny"))
    tiny_chat.write(Path("pairs.jsonl"), PAIRS[:40])
    tiny_chat.write(Path("more.jsonl"), PAIRS[40:])


def train(**params: Any) -> Any:
    words = {"model": "tiny", "data": "pairs.jsonl", "eval_data": "more.jsonl", "longest": 128, **params}
    return nl.run(
        "nimble_lightning.llm:DPO",
        params=words,
        data={"batch_size": 3},
        lightning={"accelerator": "cpu", "max_epochs": 4},
        optim={"lr": 5e-3},
        launch="inline",
    )


@torch.no_grad()
def log_prob(model: Any, pair: dict[str, str], name: str) -> float:
    words = AutoTokenizer.from_pretrained("tiny")
    turns = [{"role": "user", "content": pair["prompt"]}, {"role": "assistant", "content": pair[name]}]
    (example,) = ChatEncoder(words)(turns)
    logits = model.eval()(input_ids=torch.tensor([example.ids])).logits[0, :-1].log_softmax(-1)
    labels = torch.tensor(example.labels[1:])
    kept = labels != IGNORED
    return float(logits[kept].gather(1, labels[kept][:, None]).sum())


def test_the_better_answer_wins_and_its_loss_is_that_of_each_pair_by_itself() -> None:
    result = train()
    policy, before = (AutoModelForCausalLM.from_pretrained(p) for p in (result.folder / "best", "tiny"))
    ahead = torch.tensor(
        [
            (log_prob(policy, pair, "chosen") - log_prob(before, pair, "chosen"))
            - (log_prob(policy, pair, "rejected") - log_prob(before, pair, "rejected"))
            for pair in PAIRS[40:]
        ]
    )
    assert result.metrics["val_loss"] == pytest.approx(float(-logsigmoid(0.1 * ahead).mean()), abs=1e-5)
    assert result.metrics["accuracy"] == pytest.approx(float((ahead > 0).float().mean()))
    assert result.metrics["accuracy"] > 0.8
    kept = list(Path("home/.cache/nimble_lightning/reference").glob("*.pt"))
    assert len(kept) == 2, "one of each set of pairs"


def test_without_a_reference_the_odds_are_learned_with_the_better_answer() -> None:
    result = train(loss="orpo", eval_data=None, eval_share=0.2)
    assert result.metrics["accuracy"] > 0.8
    assert not Path("home/.cache/nimble_lightning/reference").exists()
    shown = json.loads((result.folder / "run.json").read_text())
    assert shown["status"] == "finished"


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"prompt": "a", "chosen": "b"}, "no pair, it has prompt, chosen"),
        ({"prompt": "a", "chosen": "b", "rejected": "b"}, "both answers are the same"),
        ({"prompt": "a", "chosen": "b " * 90, "rejected": "c"}, "rows have 128"),
        (
            {
                "chosen": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}],
                "rejected": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "c"}],
            },
            "different questions",
        ),
    ],
)
def test_what_is_no_pair_is_named_by_its_line(row: dict[str, Any], said: str) -> None:
    tiny_chat.write(Path("pairs.jsonl"), [PAIRS[0], row])
    with pytest.raises(RequestError, match=f"pairs.jsonl:2: .*{said}"):
        train()
