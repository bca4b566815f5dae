"""Hugging Face models and data in the step form, and the Hugging Face Trainer in the whole-run form."""

from __future__ import annotations

import copy
import logging
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from torch.utils.data import Dataset as TorchDataset

import nimble_lightning as nl
from nimble_lightning.settings import DataSettings, RunSettings

# Imported while warnings about Hugging Face's own internals are not ours to answer.
transformers = pytest.importorskip("transformers")
datasets = pytest.importorskip("datasets")

IGNORED = -100


def gpt2() -> Any:
    config = transformers.GPT2Config(
        vocab_size=16, n_positions=8, n_embd=8, n_layer=1, n_head=2, resid_pdrop=0, embd_pdrop=0, attn_pdrop=0
    )
    return transformers.GPT2LMHeadModel(config)


def bert() -> Any:
    config = transformers.BertConfig(
        vocab_size=16, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8,
        max_position_embeddings=8, hidden_dropout_prob=0, attention_probs_dropout_prob=0,
    )  # fmt: skip
    return transformers.BertForMaskedLM(config)


def t5() -> Any:
    config = transformers.T5Config(
        vocab_size=16, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2, dropout_rate=0.0,
        decoder_start_token_id=0,
    )  # fmt: skip
    return transformers.T5ForConditionalGeneration(config)


def texts() -> dict[str, list[list[int]]]:
    """Six texts of very different lengths: a mean over texts is far from the mean over tokens."""
    ids = torch.randint(1, 16, (6, 8), generator=torch.Generator().manual_seed(0))
    mask = torch.arange(8) < torch.tensor([8, 2, 5, 3, 8, 2])[:, None]
    labels = ids.masked_fill(~mask, IGNORED)
    columns = {"input_ids": ids * mask, "attention_mask": mask.long(), "labels": labels}
    return {name: column.tolist() for name, column in columns.items()}


class Trainer:
    def __init__(self, model: torch.nn.Module, data: Any) -> None:
        self.model, self.train_data = model, data

    def pre_process(self) -> None: ...

    def train(self, batch: Any) -> Any:
        return self.model(**batch)

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.model.parameters(), lr=0.5)


def one_step(model: torch.nn.Module, data: Any, micro: int | str) -> dict[str, torch.Tensor]:
    settings = RunSettings(data=DataSettings(batch_size=6, micro_batch_size=micro, shuffle=False))  # type: ignore[arg-type]
    module, loaders = nl.adapt(Trainer(copy.deepcopy(model), data), settings=settings)
    trainer = L.Trainer(
        max_steps=1, accelerator="cpu", logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(module, datamodule=loaders)
    return dict(module.user.object.model.named_parameters())


def by_hand(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    model = copy.deepcopy(model)
    model(**{name: torch.tensor(column) for name, column in texts().items()}).loss.backward()
    torch.optim.SGD(model.parameters(), lr=0.5).step()
    return dict(model.named_parameters())


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("build", [gpt2, bert, t5], ids=lambda build: build.__name__)
def test_however_a_batch_is_split_each_token_weighs_the_same(build: Any) -> None:
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    torch.manual_seed(0)
    model = build()
    expected = by_hand(model)
    data = {name: torch.tensor(column) for name, column in texts().items()}
    for micro in ("auto", 1, 4):
        for name, weight in one_step(model, data, micro).items():
            torch.testing.assert_close(
                weight, expected[name], rtol=0, atol=1e-6, msg=f"{name}, pieces of {micro}"
            )


class Evaluating(Trainer):
    def evaluate(self, batch: Any) -> Any:
        return self.model(**batch)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", [Trainer, Evaluating], ids=["by train", "by evaluate"])
def test_an_evaluated_loss_is_the_mean_over_tokens_in_batches_of_any_size(kind: Any) -> None:
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    torch.manual_seed(0)
    model = gpt2().eval()
    data = {name: torch.tensor(column) for name, column in texts().items()}
    expected = model(**data).loss.item()
    for size in (1, 4, 6):
        trainer = kind(model, data)
        trainer.eval_data = data
        module, loaders = nl.adapt(trainer, settings=RunSettings(data=DataSettings(eval_batch_size=size)))
        runner = L.Trainer(accelerator="cpu", logger=False, enable_progress_bar=False)
        (metrics,) = runner.validate(module, datamodule=loaders, verbose=False)
        assert metrics["val_loss"] == pytest.approx(expected, abs=1e-6)


class Rows(TorchDataset[Any]):
    def __len__(self) -> int:
        return 6

    def __getitem__(self, index: int) -> Any:
        return {name: torch.tensor(column[index]) for name, column in texts().items()}


@pytest.mark.filterwarnings("ignore")
def test_the_same_texts_train_alike_in_every_form_of_a_dataset() -> None:
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    torch.manual_seed(0)
    model = gpt2()
    expected = by_hand(model)
    table = datasets.Dataset.from_dict(texts())
    forms = {
        "plain": table,
        "torch": table.with_format("torch"),
        "streamed": table.to_iterable_dataset().with_format("torch"),
        "map-style": Rows(),
    }
    for form, data in forms.items():
        for name, weight in one_step(model, data, 4).items():
            torch.testing.assert_close(weight, expected[name], rtol=0, atol=1e-6, msg=f"{name}, {form}")


WHOLE = """
import os, signal
from pathlib import Path

import torch
from NimbleSDK import NimbleTrainer
from transformers import Trainer, TrainerCallback, TrainingArguments


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(3, 1)

    def forward(self, x, labels=None):
        y = self.linear(x)
        return {"loss": (y - labels).pow(2).mean(), "logits": y}


class Kill(TrainerCallback):
    def on_step_end(self, args, state, control, **kwargs):
        flag = Path(args.output_dir, "killed")
        if state.global_step == 5 and not flag.exists():
            flag.touch()
            os.kill(os.getpid(), signal.SIGKILL)


class Mine(NimbleTrainer):
    def pre_process(self, **kwargs):
        x = torch.randn(32, 3, generator=torch.Generator().manual_seed(0))
        self.data = [{"x": row, "labels": row.sum().reshape(1)} for row in x]

    def train(self, **kwargs):
        self.resume_from = kwargs["resume_from"]
        arguments = TrainingArguments(
            output_dir=kwargs["run_folder"], max_steps=8, per_device_train_batch_size=4, save_steps=2,
            report_to=[], disable_tqdm=True, use_cpu=True, logging_steps=2,
        )
        kill = [Kill()] if kwargs["params"].get("kill") else []
        data = {"train_dataset": self.data, "eval_dataset": self.data}
        self.trainer = Trainer(Net(), arguments, callbacks=kill, **data)
        return self.trainer

    def predict_and_show(self, **kwargs):
        yield "resumed from", str(self.resume_from)
"""


def test_a_hugging_face_trainer_goes_on_from_its_own_newest_checkpoint() -> None:
    Path("mine.py").write_text(WHOLE)
    losses = []
    for kill in (False, True):
        result = nl.run("mine.py", params={"kill": kill}, lightning={"accelerator": "cpu"})
        assert result.status == "finished", result.message
        assert result.global_step == 8
        assert {"train_runtime", "train_loss", "eval_loss"} <= result.metrics.keys()
        losses.append(result.metrics["eval_loss"])
        resumed = (result.folder / "show" / "01.txt").read_text().strip()
        assert resumed == (str(result.folder / "checkpoint-4") if kill else "None")
        assert len(result.attempts) == 1 + kill
    assert losses[0] == losses[1]
