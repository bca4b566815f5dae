"""Where a run ends, when it evaluates, what it keeps and what it smooths, as settings say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from forked_command import Command

import nimble_lightning as nl
from nimble_lightning.adapters.global_step import PieceLoss
from nimble_lightning.adapters.losses import LabelCount
from nimble_lightning.errors import RequestError, TrainerError

TRAINER = """
import torch
from nimble_lightning import NimbleTrainer

class Line(NimbleTrainer):
    def pre_process(self):
        x = torch.linspace(-1, 1, 64)[:, None]
        self.train_data, self.eval_data, self.lr = (x, 2 * x), (x, 2 * x), 0.1
        self.model = torch.nn.Linear(1, 1)

    def train(self, batch):
        return (self.model(batch[0]) - batch[1]).square().mean()
"""
USUAL = ("trainer=line.py", "run_id=r", "lightning.accelerator=cpu", "data.batch_size=8", "report=false")


def rows(folder: Path, name: str) -> list[int]:
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [row["step"] for row in map(json.loads, lines) if name in row["metrics"]]


def test_a_fraction_of_epochs_ends_at_its_step_and_is_finished_then() -> None:
    Path("line.py").write_text(TRAINER)
    asked = (*USUAL, "lightning.max_epochs=1.4", "schedule=linear", "evaluation.on_start=true")
    asked = (*asked, "evaluation.after_steps=9", "log.every_n_steps=1", "checkpoints.keep=all")
    asked = (*asked, "callbacks.auto_retry.save_every_n_steps=2", "+lightning.val_check_interval=4")
    done = Command(*asked).end()
    assert done.returncode == 0, done.stderr
    folder = Path("outputs/line/r")
    record = json.loads((folder / "run.json").read_text())
    # 1.4 of 8 steps are 11.2.
    assert record["status"] == "finished"
    assert record["metrics"]["global_step"] == 12
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    rates = [row["metrics"]["lr"] for row in map(json.loads, lines) if "lr" in row["metrics"]]
    assert rates == pytest.approx([0.1 * (1 - step / 12) for step in range(12)])
    assert rows(folder, "val_loss") == [0, 12]
    kept = sorted(path.name for path in (folder / "checkpoints" / "steps").glob("*.ckpt"))
    assert kept == [f"step-{step:08d}.ckpt" for step in range(2, 13, 2)]
    again = Command(*asked).end()
    assert again.returncode == 0
    assert "finished" in again.stdout + again.stderr
    assert len(json.loads((folder / "run.json").read_text())["attempts"]) == 1


def test_fewer_than_two_commits_are_refused() -> None:
    from nimble_lightning.callbacks import AutoRetry

    with pytest.raises(RequestError, match="keep=1: the newest 2 commits always stay"):
        AutoRetry(keep=1)


def test_no_fraction_for_a_lightning_module(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"max_epochs=1\.5: a LightningModule is trained for whole epochs"):
        nl.run(
            "lightning.pytorch.demos.boring_classes:BoringModel", launch="inline", output_dir=str(tmp_path),
            lightning={"max_epochs": 1.5, "accelerator": "cpu"},
        )  # fmt: skip


@pytest.mark.parametrize("shifts", [True, False])
def test_smoothed_labels_give_the_loss_of_transformers(shifts: bool) -> None:
    transformers = pytest.importorskip("transformers")
    from transformers.trainer_pt_utils import LabelSmoother

    sizes: dict[str, Any] = {"vocab_size": 16, "bos_token_id": 0, "eos_token_id": 0}
    if shifts:
        config = transformers.GPT2Config(n_positions=8, n_embd=8, n_layer=1, n_head=2, **sizes)
        model = transformers.GPT2LMHeadModel(config).eval()
    else:
        config = transformers.BertConfig(
            hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8, **sizes
        )
        model = transformers.BertForMaskedLM(config).eval()
    ids = torch.randint(1, 16, (4, 7), generator=torch.Generator().manual_seed(0))
    labels = ids.masked_fill(torch.arange(7) >= torch.tensor([7, 3, 5, 2])[:, None], -100)
    batch = {"input_ids": ids, "labels": labels}
    with torch.no_grad():
        loss, count = PieceLoss(lambda piece: model(**piece), None, LabelCount(model), 0.2)(batch, 4)
        theirs = LabelSmoother(0.2)(model(**batch), labels.clone(), shift_labels=shifts)
    assert float(loss) == pytest.approx(float(theirs), rel=1e-6)
    assert count == (labels[:, 1:] if shifts else labels).ne(-100).sum()


def test_a_loss_alone_cannot_be_smoothed() -> None:
    loss_of = PieceLoss(lambda piece: piece.mean(), None, LabelCount(), 0.1)
    with pytest.raises(TrainerError, match="needs the model's whole output"):
        loss_of(torch.ones(3), 3)
