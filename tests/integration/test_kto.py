"""`KTO` learns from single answers that are rated; its estimate is of the whole batch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import tiny_chat
import torch
from forked_command import Command
from killed_runs import faults
from transformers import AutoModelForCausalLM, AutoTokenizer

import nimble_lightning as nl
from nimble_lightning.checkpoint.full_weights import weights_of
from nimble_lightning.llm import KTO
from nimble_lightning.llm.chat_masks import ChatEncoder
from nimble_lightning.llm.packing import IGNORED
from nimble_lightning.ops.batches import split

TURNS = [talk["messages"] for talk in tiny_chat.conversations(60)]
ROWS = [
    {"prompt": t[0]["content"], "completion": t[1]["content"] if n % 2 else "who who", "label": bool(n % 2)}
    for n, t in enumerate(TURNS)
]
PARAMS = {"model": "tiny", "data": "rated.jsonl", "eval_data": "more.jsonl", "longest": 64}


@pytest.fixture(autouse=True)
def _material(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(Path("home").absolute()))
    tiny_chat.save(Path("tiny"))
    tiny_chat.write(Path("rated.jsonl"), ROWS[:44])
    tiny_chat.write(Path("more.jsonl"), ROWS[44:])


@torch.no_grad()
def log_prob(model: Any, ids: list[int], labels: list[int]) -> float:
    logits = model.eval()(input_ids=torch.tensor([ids])).logits[0, :-1].log_softmax(-1)
    return sum(float(logits[n, label]) for n, label in enumerate(labels[1:]) if label != IGNORED)


def expected(policy: Any, rows: list[dict[str, Any]], beta: float = 0.1) -> dict[str, float]:
    """By the formulas of the paper, one text at a time."""
    words, before = AutoTokenizer.from_pretrained("tiny"), AutoModelForCausalLM.from_pretrained("tiny")
    texts = []
    for row in rows:
        turns = [
            {"role": "user", "content": row["prompt"]},
            {"role": "assistant", "content": row["completion"]},
        ]
        (example,) = ChatEncoder(words, learn="last_answer")(turns)
        texts.append((example, next(n for n, label in enumerate(example.labels) if label != IGNORED)))

    def ahead(ids: list[int], labels: list[int]) -> float:
        return log_prob(policy, ids, labels) - log_prob(before, ids, labels)

    others = [(texts[n][0], texts[n][1], *texts[n - 1]) for n in range(len(texts))]
    unrelated = [ahead(a.ids[:i] + b.ids[j:], a.labels[:i] + b.labels[j:]) for a, i, b, j in others]
    kl = max(0.0, sum(unrelated) / len(unrelated))
    found = torch.tensor([ahead(text.ids, text.labels) for text, _ in texts])
    good = torch.tensor([row["label"] for row in rows])
    losses = 1 - torch.sigmoid(beta * torch.where(good, 1, -1) * (found - kl))
    margin = beta * (found[good].mean() - found[~good].mean())
    return {"val_loss": float(losses.mean()), "kl": kl, "margin": float(margin)}


def test_good_answers_win_and_its_figures_are_those_of_each_answer_by_itself() -> None:
    result = nl.run(
        "nimble_lightning.llm:KTO",
        params=PARAMS,
        data={"batch_size": 3},
        lightning={"accelerator": "cpu", "max_epochs": 4},
        optim={"lr": 5e-3},
        launch="inline",
    )
    policy = AutoModelForCausalLM.from_pretrained(result.folder / "best")
    wanted = expected(policy, ROWS[44:])
    assert {name: result.metrics[name] for name in wanted} == pytest.approx(wanted, abs=1e-5)
    assert result.metrics["margin"] > 0.3
    assert result.metrics["accuracy"] > 0.8
    log = (result.folder / "log.txt").read_text()
    assert "22 desirable, 22 not" in log


def test_its_gradient_is_that_of_the_whole_batch_however_it_is_cut() -> None:
    tiny_chat.write(Path("rated.jsonl"), ROWS[:16])
    trainer = KTO()
    trainer.pre_process(**{**PARAMS, "eval_data": None, "eval_share": 0.0})
    tiny_chat.teach(trainer.model, [answer.text.ids for answer in trainer.train_data.answers])
    rows = [trainer.train_data[n] for n in range(len(trainer.train_data))]

    def gradient(size: int) -> torch.Tensor:
        trainer.model.zero_grad()
        total = 0
        for piece in split(trainer.collate(rows), size):
            loss, count = trainer.train(piece)
            (loss * count).backward()
            total += count
        assert total == 16
        return torch.cat([p.grad.flatten() / total for p in trainer.model.parameters()])

    whole = gradient(len(rows))
    wanted = expected(trainer.model, ROWS[:16])
    loss, _ = trainer.train(trainer.collate(rows))
    assert loss.item() == pytest.approx(wanted["val_loss"], abs=1e-5)
    assert wanted["kl"] > 0.1, "or it would not be seen in the loss"
    for size in (1, 3):
        assert torch.allclose(gradient(size), whole, atol=1e-6)


def settings(name: str, *words: str) -> list[str]:
    params = [f"params.{key}={value}" for key, value in PARAMS.items()]
    return [
        *(
            "trainer=nimble_lightning.llm:KTO",
            *params,
            "data.batch_size=4",
            "optim.lr=1e-3",
            f"run_id={name}",
        ),
        *("lightning.accelerator=cpu", "lightning.max_epochs=2", *words),
    ]


def record(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Path("outputs/KTO", name, "run.json").read_text())
    return found


def weights(name: str) -> dict[str, torch.Tensor]:
    return dict(weights_of(record(name)["best_checkpoint"]))


@pytest.mark.slow
def test_a_killed_run_ends_with_the_same_bits() -> None:
    Command(*settings("whole")).end_with(0)
    Command(*settings("killed", *faults("kill@step=3,attempt=1"))).end_with(0)
    assert len(record("killed")["attempts"]) == 2
    one, other = weights("whole"), weights("killed")
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.slow
def test_ranks_and_pieces_train_as_one_process_does() -> None:
    Command(*settings("one", "data.batch_size=4")).end_with(0)
    Command(*settings("cut", "data.batch_size=4", "data.micro_batch_size=1")).end_with(0)
    Command(*settings("two", "data.batch_size=2", "lightning.devices=2", "strategy=ddp")).end_with(0)
    wanted = weights("one")
    for name in ("cut", "two"):
        found = weights(name)
        assert all(torch.allclose(found[key], wanted[key], atol=1e-5) for key in wanted), name
    figures = [record(name)["metrics"] for name in ("one", "two")]
    for key in ("val_loss", "kl", "accuracy", "margin"):
        assert figures[1][key] == pytest.approx(figures[0][key], abs=1e-4)
