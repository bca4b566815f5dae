"""`nl.HFTrainer` does what transformers' Trainer does, to the same figures, with one import changed."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import nimble_lightning as nl
from nimble_lightning.errors import RequestError

transformers = pytest.importorskip("transformers")

from transformers import Trainer, TrainerCallback, TrainingArguments  # noqa: E402


class Texts(torch.utils.data.Dataset[Any]):
    """Of unequal lengths, to be told from each other or, with `tokens`, continued."""

    def __init__(self, count: int, *, tokens: bool = False) -> None:
        draw = torch.Generator().manual_seed(0)
        lengths = torch.randint(3, 9, (count,), generator=draw).tolist()
        ids = [torch.randint(1, 16, (length,), generator=draw).tolist() for length in lengths]
        self.rows = [{"input_ids": i, "labels": i if tokens else sum(i) % 2} for i in ids]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Any:
        return self.rows[index]


def padded(rows: list[Any]) -> dict[str, torch.Tensor]:
    longest = max(len(row["input_ids"]) for row in rows)

    def filled(values: list[int], by: int) -> list[int]:
        return values + [by] * (longest - len(values))

    labels = [row["labels"] for row in rows]
    return {
        "input_ids": torch.tensor([filled(row["input_ids"], 0) for row in rows]),
        "attention_mask": torch.tensor([filled([1] * len(row["input_ids"]), 0) for row in rows]),
        "labels": torch.tensor([filled(x, -100) if isinstance(x, list) else x for x in labels]),
    }


def gpt() -> Any:
    torch.manual_seed(5)
    return transformers.GPT2LMHeadModel(
        transformers.GPT2Config(
            vocab_size=16, n_positions=16, n_embd=16, n_layer=1, n_head=2, bos_token_id=0, eos_token_id=0
        )
    )


def bert() -> Any:
    torch.manual_seed(5)
    return transformers.BertForSequenceClassification(
        transformers.BertConfig(
            vocab_size=16, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
            num_labels=2, max_position_embeddings=16,
        )
    )  # fmt: skip


def made(kind: type[Any], folder: Path, *, tokens: bool = True, callbacks: Any = None, **asked: Any) -> Any:
    usual: dict[str, Any] = {
        "output_dir": str(folder), "num_train_epochs": 2, "per_device_train_batch_size": 8,
        "logging_steps": 1, "learning_rate": 1e-3, "save_strategy": "no", "use_cpu": True,
        "disable_tqdm": True,
    }  # fmt: skip
    trainer = kind(
        model=gpt() if tokens else bert(),
        args=TrainingArguments(**{**usual, **asked}),
        train_dataset=Texts(45, tokens=tokens),
        eval_dataset=Texts(11, tokens=tokens),
        data_collator=padded,
        callbacks=callbacks,
        compute_metrics=None if tokens else accuracy,
    )
    trainer.remove_callback(transformers.trainer_callback.PrinterCallback)
    return trainer


def accuracy(eval_pred: Any) -> dict[str, float]:
    logits, labels = eval_pred
    return {"accuracy": float((logits.argmax(-1) == labels).mean())}


def curve(trainer: Any) -> list[dict[str, float]]:
    timed = ("runtime", "per_second")
    rows = trainer.state.log_history
    return [{name: v for name, v in row.items() if not any(t in name for t in timed)} for row in rows]


def weights(trainer: Any) -> torch.Tensor:
    return torch.cat([value.double().flatten() for value in trainer.model.state_dict().values()])


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    """Trainers seed everything and set the threads' and the libraries' words."""
    state, level = torch.get_rng_state(), transformers.logging.get_verbosity()
    yield
    torch.set_rng_state(state)
    transformers.logging.set_verbosity(level)


@pytest.mark.parametrize(
    "asked",
    [
        pytest.param({"tokens": False}, id="plain"),
        pytest.param({"gradient_accumulation_steps": 3}, id="accumulated"),
        pytest.param({"warmup_steps": 3, "lr_scheduler_type": "cosine"}, id="cosine"),
        pytest.param({"label_smoothing_factor": 0.1, "tokens": False}, id="smoothed"),
        pytest.param({"max_grad_norm": 0.05}, id="clipped"),
        pytest.param({"train_sampling_strategy": "group_by_length", "weight_decay": 0.1}, id="grouped"),
    ],
)
def test_losses_and_weights_are_those_of_transformers(asked: dict[str, Any], tmp_path: Path) -> None:
    theirs, ours = (made(kind, tmp_path, **asked) for kind in (Trainer, nl.HFTrainer))
    told = theirs.train()
    # The dropout of both draws from the same numbers only if nothing else draws from them.
    transformers.set_seed(42)
    found = ours.train()
    assert found.global_step == told.global_step
    assert found.training_loss == pytest.approx(told.training_loss, abs=1e-6)
    for one, other in zip(curve(ours), curve(theirs), strict=True):
        assert one == pytest.approx(other, rel=1e-5, abs=1e-6)
    torch.testing.assert_close(weights(ours), weights(theirs), rtol=0, atol=1e-6)


EVALUATED: dict[str, Any] = {
    "eval_strategy": "steps", "eval_steps": 3, "save_strategy": "steps", "save_steps": 3,
    "metric_for_best_model": "accuracy", "load_best_model_at_end": True, "save_total_limit": 2,
    "num_train_epochs": 1.5, "tokens": False,
}  # fmt: skip


def test_evaluation_best_weights_and_rotation_are_those_of_transformers(tmp_path: Path) -> None:
    theirs, ours = (made(k, tmp_path / k.__name__, **EVALUATED) for k in (Trainer, nl.HFTrainer))
    theirs.train()
    transformers.set_seed(42)
    ours.train()
    assert curve(ours) == curve(theirs)
    assert torch.equal(weights(ours), weights(theirs))
    assert ours.state.best_metric == theirs.state.best_metric
    folders = [sorted(p.name for p in (tmp_path / k).iterdir()) for k in ("Trainer", "HFTrainer")]
    assert folders[0] == folders[1]
    assert type(ours.model).from_pretrained(tmp_path / "HFTrainer" / folders[1][0]) is not None
    told, found = theirs.predict(Texts(7)), ours.predict(Texts(7))
    assert (found.predictions == told.predictions).all()
    assert found.metrics["test_accuracy"] == told.metrics["test_accuracy"]


def test_a_checkpoint_goes_on_with_the_same_bits(tmp_path: Path) -> None:
    asked = {"save_strategy": "steps", "save_steps": 2, "gradient_accumulation_steps": 2}
    grouped = {"train_sampling_strategy": "group_by_length", **asked}
    whole = made(nl.HFTrainer, tmp_path, **grouped)
    whole.train()
    again = made(nl.HFTrainer, tmp_path, **grouped)
    again.train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
    assert torch.equal(weights(again), weights(whole))
    assert curve(again)[:-1] == curve(whole)[:-1]


class Stop(TrainerCallback):
    """As the guide has it: what it decides is a dict."""

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
        return {"should_training_stop": True} if state.global_step >= 4 else {}


def test_callbacks_decide(tmp_path: Path) -> None:
    trainer = made(nl.HFTrainer, tmp_path, callbacks=[Stop])
    assert trainer.train().global_step == 4


class Weighted(nl.HFTrainer):
    """The methods of the guide, replaced."""

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        labels = inputs.pop("labels")
        outputs = model(**inputs)
        weight = torch.tensor([1.0, 2.0])
        kind = "sum" if num_items_in_batch is not None else "mean"
        loss = torch.nn.functional.cross_entropy(outputs["logits"], labels, weight, reduction=kind)
        loss = loss if num_items_in_batch is None else loss / num_items_in_batch
        return (loss, outputs) if return_outputs else loss

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> Any:
        model.train()
        loss = self.compute_loss(model, inputs, num_items_in_batch=num_items_in_batch)
        self.accelerator.backward(loss)
        return loss.detach()


class Theirs(Trainer):
    compute_loss = Weighted.compute_loss


def test_methods_that_are_replaced_are_called(tmp_path: Path) -> None:
    theirs, ours = (made(kind, tmp_path, tokens=False) for kind in (Theirs, Weighted))
    told = theirs.train()
    transformers.set_seed(42)
    assert ours.train().training_loss == pytest.approx(told.training_loss, abs=1e-6)
    torch.testing.assert_close(weights(ours), weights(theirs), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"torch_empty_cache_steps": 2}, "torch_empty_cache_steps=2: memory that runs out"),
        ({"train_sampling_strategy": "batch_rebalance"}, "use group_by_length"),
        ({"average_tokens_across_devices": False}, "leave it at True"),
    ],
)
def test_what_it_cannot_do_is_refused_by_name(asked: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=words):
        made(nl.HFTrainer, tmp_path, **asked)


ON_TWO_RANKS = """
import json, os, sys
from pathlib import Path

import torch, transformers
import nimble_lightning as nl
from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainingArguments

kind, accumulate = sys.argv[1], int(sys.argv[2])
transformers.set_seed(0)
draw = torch.Generator().manual_seed(0)
rows = []
for number in range(24):
    ids = torch.randint(0, 32, (12,), generator=draw)
    rows.append({"input_ids": ids, "labels": torch.where(torch.arange(12) < 4 + number % 7, ids, -100)})
sizes = {"n_positions": 16, "n_embd": 16, "n_layer": 1, "n_head": 2, "bos_token_id": 0, "eos_token_id": 0}
model = GPT2LMHeadModel(GPT2Config(vocab_size=32, resid_pdrop=0, embd_pdrop=0, attn_pdrop=0, **sizes))
trainer = {"ours": nl.HFTrainer, "theirs": Trainer}[kind](
    model=model,
    args=TrainingArguments(
        kind, use_cpu=True, per_device_train_batch_size=3, gradient_accumulation_steps=accumulate,
        num_train_epochs=2, logging_steps=1, learning_rate=0.01, report_to="none", save_strategy="no",
    ),
    train_dataset=rows,
)
told = trainer.train()
if os.environ["RANK"] == "0":
    found = [[row["loss"], row["grad_norm"]] for row in trainer.state.log_history if "loss" in row]
    weights = torch.cat([value.flatten() for value in model.state_dict().values()]).tolist()
    Path(f"{kind}.json").write_text(json.dumps([told.global_step, told.training_loss, found, weights]))
"""


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("accumulate", [1, 2])
def test_on_two_ranks_too(accumulate: int) -> None:
    """Where their number divides that of the samples: of others transformers repeats some."""
    Path("train.py").write_text(ON_TWO_RANKS)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    found = []
    for kind in ("theirs", "ours"):
        done = subprocess.run(
            [*launch, "train.py", kind, str(accumulate)], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        found.append(json.loads(Path(f"{kind}.json").read_text()))
    (step, loss, curve, weights), (our_step, our_loss, our_curve, our_weights) = found
    assert our_step == step
    assert our_loss == pytest.approx(loss, abs=1e-5)
    torch.testing.assert_close(torch.tensor(our_curve), torch.tensor(curve), rtol=1e-4, atol=1e-5)
    # AdamW makes as much of a rounding as of a gradient.
    torch.testing.assert_close(torch.tensor(our_weights), torch.tensor(weights), rtol=0, atol=1e-4)
