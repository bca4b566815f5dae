"""The losses of pairs are those that TRL's own trainers compute, padded and with the reference beside."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import tiny_chat
import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer

from nimble_lightning.llm import DPO, KTO, RewardModel
from nimble_lightning.llm.preference_losses import orpo

trl = pytest.importorskip("trl")

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]

TURNS = [talk["messages"][:2] for talk in tiny_chat.conversations(6)]
PAIRS = [
    {"prompt": [asked], "chosen": [said], "rejected": [{**said, "content": "who " * 5}]}
    for asked, said in TURNS
]


def moved(path: Path) -> Any:
    """The model after something was learned."""
    policy = AutoModelForCausalLM.from_pretrained(path)
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
    return policy.eval()


def theirs(policy: Any, kind: str) -> float:
    config = trl.DPOConfig(
        output_dir="trl",
        per_device_train_batch_size=len(PAIRS),
        use_cpu=True,
        bf16=False,
        report_to="none",
        loss_type=[kind],
        beta=0.3,
        max_length=None,
    )
    reference, words = AutoModelForCausalLM.from_pretrained("tiny"), AutoTokenizer.from_pretrained("tiny")
    data = Dataset.from_list(PAIRS)
    made = trl.DPOTrainer(policy, reference, config, train_dataset=data, processing_class=words)
    with torch.no_grad():
        return float(made.compute_loss(made.model, next(iter(made.get_train_dataloader()))))


def ours(policy: Any, kind: Any) -> float:
    trainer = DPO()
    path = tiny_chat.write(Path("pairs.jsonl"), PAIRS)
    trainer.pre_process(model="tiny", data=str(path), eval_share=0.0, loss=kind, beta=0.3, longest=256)
    trainer.model = policy
    batch = trainer.collate([trainer.train_data[number] for number in range(len(trainer.train_data))])
    with torch.no_grad():
        loss, pairs = trainer.train(batch)
    assert pairs == len(PAIRS)
    return float(loss)


@pytest.mark.parametrize("kind", ["sigmoid", "ipo"])
def test_it_is_that_of_trl(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(Path("home").absolute()))
    folder = tiny_chat.save(Path("tiny"))
    # TRL learns what a template writes behind the token that ends an answer; this one writes nothing there.
    tiny_chat.tokenizer(tiny_chat.CHATML.replace("<|im_end|>' + '\n'", "<|im_end|>'")).save_pretrained(folder)
    policy = moved(folder)
    assert ours(policy, kind) == pytest.approx(theirs(policy, kind), abs=1e-5)


def test_the_odds_of_orpo_are_those_of_trl() -> None:
    from trl.experimental.orpo import ORPOTrainer

    known = SimpleNamespace(beta=0.3, accelerator=SimpleNamespace(device="cpu"))
    chosen, rejected = -torch.rand(64) * 3, -torch.rand(64) * 3
    theirs = ORPOTrainer.odds_ratio_loss(known, chosen, rejected)[0]
    assert torch.allclose(orpo(chosen, rejected, 0.3), -theirs, atol=1e-5)


def config_of(kind: str, **more: Any) -> Any:
    known = {"output_dir": "trl", "use_cpu": True, "bf16": False, "report_to": "none", "max_length": None}
    return getattr(trl, kind)(per_device_train_batch_size=len(PAIRS), **known, **more)


def test_kto_is_that_of_trl(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(Path("home").absolute()))
    folder = tiny_chat.save(Path("tiny"))
    tiny_chat.tokenizer(tiny_chat.CHATML.replace("<|im_end|>' + '\n'", "<|im_end|>'")).save_pretrained(folder)
    policy, words = moved(folder), AutoTokenizer.from_pretrained(folder)
    tiny_chat.teach(policy, [words.apply_chat_template(turns)["input_ids"] for turns in TURNS])
    rows = [
        {"prompt": [asked], "completion": [said], "label": bool(number % 3)}
        for number, (asked, said) in enumerate(TURNS)
    ]
    asked = {"beta": 0.3, "desirable_weight": 1.5, "undesirable_weight": 0.5}
    reference = AutoModelForCausalLM.from_pretrained(folder)
    made = trl.KTOTrainer(
        *(policy, reference, config_of("KTOConfig", **asked)),
        train_dataset=Dataset.from_list(rows),
        processing_class=words,
    )
    with torch.no_grad():
        theirs = float(made.compute_loss(made.model, next(iter(made.get_train_dataloader()))))
    trainer = KTO()
    path = tiny_chat.write(Path("rated.jsonl"), rows)
    trainer.pre_process(model="tiny", data=str(path), eval_share=0.0, longest=256, **asked)
    trainer.model = policy
    batch = trainer.collate([trainer.train_data[number] for number in range(len(trainer.train_data))])
    with torch.no_grad():
        loss, answers = trainer.train(batch)
    assert answers == len(rows)
    assert float(batch["unrelated"].divergence) > 0
    assert float(loss) == pytest.approx(theirs, abs=1e-5)


def test_rewards_are_those_of_trl() -> None:
    folder = tiny_chat.save(Path("tiny"))
    rows = [{**pair, "margin": 0.25 * number} for number, pair in enumerate(PAIRS)]
    trainer = RewardModel()
    path = tiny_chat.write(Path("pairs.jsonl"), rows)
    trainer.pre_process(model="tiny", data=str(path), eval_share=0.0, longest=256, center=0.01)
    batch = trainer.collate([trainer.train_data[number] for number in range(len(trainer.train_data))])
    with torch.no_grad():
        loss, _ = trainer.train(batch)
    made = trl.RewardTrainer(
        *(trainer.model, config_of("RewardConfig", center_rewards_coefficient=0.01)),
        train_dataset=Dataset.from_list(rows),
        processing_class=AutoTokenizer.from_pretrained(folder),
    )
    with torch.no_grad():
        theirs = float(made.compute_loss(made.model, next(iter(made.get_train_dataloader()))))
    assert float(loss) == pytest.approx(theirs, abs=1e-5)
