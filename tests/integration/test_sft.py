"""`SFT` from a file of conversations to a model that both libraries open, killed and on two ranks."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import tiny_chat
import torch
from forked_command import Command
from killed_runs import faults
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM, AutoTokenizer

from nimble_lightning.checkpoint.full_weights import weights_of
from nimble_lightning.commands import main
from nimble_lightning.llm.chat_masks import ChatEncoder, stop_tokens
from nimble_lightning.llm.conversations import read
from nimble_lightning.llm.packing import IGNORED

SETTINGS = (
    "trainer=nimble_lightning.llm:SFT",
    *("params.model=tiny", "params.data=chats.jsonl", "params.eval_data=talks.jsonl", "params.longest=128"),
    *("params.answer_tokens=8", "data.batch_size=4", "lightning.accelerator=cpu", "optim.lr=3e-3"),
)


@pytest.fixture(autouse=True)
def _material() -> None:
    tiny_chat.save(Path("tiny"))
    tiny_chat.write(Path("chats.jsonl"), tiny_chat.conversations(40))
    tiny_chat.write(Path("talks.jsonl"), tiny_chat.conversations(8, seed=1))


def train(name: str, *words: str) -> Path:
    Command(*SETTINGS, f"run_id={name}", *words).end_with(0)
    run = Path("outputs/SFT", name)
    assert "of them learned, rows" in (run / "log.txt").read_text()
    return run


def record(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "run.json").read_text())
    assert found["status"] == "finished"
    return found


@torch.no_grad()
def loss_of(model: Any) -> float:
    """The mean over the learned tokens, one conversation after another, by transformers alone."""
    words = AutoTokenizer.from_pretrained("tiny")
    total, count = 0.0, 0
    for talk in read(Path("talks.jsonl")):
        (example,) = ChatEncoder(words, stop_tokens(words))(talk.messages)
        logits = model.eval()(input_ids=torch.tensor([example.ids])).logits[0, :-1]
        labels = torch.tensor(example.labels[1:])
        total += float(cross_entropy(logits, labels, ignore_index=IGNORED, reduction="sum"))
        count += int((labels != IGNORED).sum())
    return total / count


def test_a_model_learns_its_loss_is_exact_and_its_answers_are_shown_before_and_after() -> None:
    run = train("whole", "lightning.max_epochs=4", "params.neftune=1", "optim.lr=2e-2")
    metrics = record(run)["metrics"]
    found = loss_of(AutoModelForCausalLM.from_pretrained(run / "best"))
    assert metrics["val_loss"] == pytest.approx(found, abs=1e-5)
    assert metrics["perplexity"] == pytest.approx(math.exp(metrics["val_loss"]))
    assert metrics["val_loss"] < 0.7 * loss_of(AutoModelForCausalLM.from_pretrained("tiny"))
    shown = json.loads((run / "show/01.json").read_text())
    assert set(shown[0]) == {"asked", "before", "after"}
    assert any(row["before"] != row["after"] for row in shown)
    index = json.loads((run / "show/index.json").read_text())
    assert [entry["kind"] for entry in index] == ["table"] * 3 + ["marked"] * 3
    account, lengths = (json.loads((run / f"show/0{number}.json").read_text()) for number in (2, 3))
    assert (account["conversations"], account["learned"]) == (40, "17.5%")
    assert sum(bar["texts"] for bar in lengths) == 40
    assert "<ins>" in (run / "report.html").read_text()
    assert AutoTokenizer.from_pretrained(run / "best").chat_template == tiny_chat.CHATML


ADAPTER = ("params.rank=2", "params.targets=[q_proj,v_proj]")


def newest_of(run: Path) -> Path:
    """Its newest checkpoint, and that it holds what is trained and no more."""
    newest = max((run / "checkpoints/steps").glob("*.ckpt"), key=lambda path: path.name)
    assert all("lora_" in name for name in torch.load(newest, weights_only=True)["state_dict"])
    return newest


def test_an_adapter_is_small_and_opens_anywhere() -> None:
    peft = pytest.importorskip("peft")
    # Large beside its adapter, as they are.
    tiny_chat.save(Path("tiny"), intermediate_size=16384)
    run = train("some", *ADAPTER, "lightning.max_steps=2")
    (frozen,) = (run / "checkpoints").glob("frozen-*.pt")
    assert newest_of(run).stat().st_size < frozen.stat().st_size / 50
    metrics = record(run)["metrics"]
    for opened in (peft.AutoPeftModelForCausalLM, AutoModelForCausalLM):
        model = opened.from_pretrained(run / "best")
        assert loss_of(model) == pytest.approx(metrics["val_loss"], abs=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("dora", [False, True])
def test_an_adapter_goes_on_after_a_kill_with_the_same_bits(dora: bool) -> None:
    peft = pytest.importorskip("peft")
    tiny_chat.save(Path("tiny"), intermediate_size=16384)
    often = ("callbacks.auto_retry.save_every_n_steps=3", "params.dropout=0.1", "params.neftune=1")
    words = (*ADAPTER, *often, f"params.dora={str(dora).lower()}", "lightning.max_steps=12")
    runs = [train("calm", *words), train("killed", *words, *faults("kill@step=5,attempt=1"))]
    assert len(record(runs[1])["attempts"]) == 2
    one, other = (weights_of(newest_of(run)) for run in runs)
    assert all(torch.equal(one[name], other[name]) for name in one)
    (frozen,), (same,) = (list((run / "checkpoints").glob("frozen-*.pt")) for run in runs)
    assert frozen.name == same.name
    assert any("magnitude" in name for name in one) == dora
    opened = peft.AutoPeftModelForCausalLM.from_pretrained(runs[1] / "best")
    assert loss_of(opened) == pytest.approx(record(runs[1])["metrics"]["val_loss"], abs=1e-5)


@pytest.mark.slow
def test_two_ranks_evaluate_every_token_once() -> None:
    run = train("two", "lightning.max_epochs=1", "lightning.devices=2", "strategy=ddp", "data.batch_size=3")
    found = loss_of(AutoModelForCausalLM.from_pretrained(run / "best"))
    assert record(run)["metrics"]["val_loss"] == pytest.approx(found, abs=1e-5)


def test_a_model_that_is_not_there_is_refused_in_words_and_not_tried_again() -> None:
    text = Command(*SETTINGS, "run_id=bad", "params.model=./tyni").end_with(2)
    assert "model=./tyni: there is no such folder" in text
    assert "Traceback" not in text


@pytest.mark.slow
def test_a_converted_yaml_of_trl_trains(capsys: pytest.CaptureFixture[str]) -> None:
    Path("trl.yaml").write_text(
        "model_name_or_path: tiny\ndataset_name: chats.jsonl\nmax_length: 128\nbf16: false\nuse_cpu: true\n"
        "per_device_train_batch_size: 2\ngradient_accumulation_steps: 2\nnum_train_epochs: 0.5\n"
        "warmup_steps: 2\nlogging_steps: 1\nassistant_only_loss: true\noutput_dir: outputs\nrun_name: trl\n"
    )
    assert main.main(["convert", "trl.yaml", "--json"]) == 0
    words = json.loads(capsys.readouterr().out)["command"]
    Command(*words[3:], "params.answer_tokens=8").end_with(0)
    run = Path("outputs/SFT/trl")
    record(run)
    logged = [json.loads(line)["metrics"] for line in (run / "metrics.jsonl").read_text().splitlines()]
    rates = [metrics["lr"] for metrics in logged if "lr" in metrics]
    assert rates == pytest.approx([0, 1e-5, 2e-5, 4e-5 / 3, 2e-5 / 3]), "half of 40 texts, in steps of 4"
