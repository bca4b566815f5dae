"""A gradient that is not finite never reaches the weights."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.demos.boring_classes import BoringModel, RandomDataset
from lightning.pytorch.utilities.model_helpers import is_overridden
from torch.utils.data import DataLoader

import nimble_lightning as nl
from nimble_lightning.callbacks import BestCheckpoint, NonFinite
from nimble_lightning.callbacks._kept_values import DelayedScalar
from nimble_lightning.callbacks.non_finite import Losses, total_norm
from nimble_lightning.errors import RequestError
from nimble_lightning.ops import sharded_tensors

BATCHES = 40


class Model(BoringModel):
    """Multiplies its loss by what `factors` says for a step, and remembers its weights after each."""

    def __init__(self, factors: dict[int, float]) -> None:
        super().__init__()
        self.factors = factors
        self.weights: list[torch.Tensor] = []

    def configure_optimizers(self) -> torch.optim.Optimizer:
        # Weight decay and momentum would move weights even with a gradient of zero.
        return torch.optim.AdamW(self.parameters(), lr=0.01, weight_decay=0.1)

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
        return self.step(batch) * self.factors.get(batch_idx, 1.0)

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.weights.append(self.layer.weight.detach().clone())

    def train_dataloader(self) -> DataLoader:
        return DataLoader(RandomDataset(32, BATCHES))


class SaveAt(L.Callback):
    """Saves a checkpoint before the batch of that number."""

    def __init__(self, number: int, path: Path) -> None:
        self.number, self.path = number, path

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if batch_idx == self.number:
            trainer.save_checkpoint(self.path, weights_only=False)


def fit(
    model: L.LightningModule, *callbacks: L.Callback, datamodule: Any = None, **options: Any
) -> L.Trainer:
    torch.manual_seed(0)
    usual = {"max_epochs": 1, "limit_val_batches": 0, "enable_checkpointing": False}
    trainer = L.Trainer(
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=list(callbacks),
        **{**usual, **options},
    )
    trainer.fit(model, datamodule=datamodule)
    return trainer


def test_skip_leaves_weights_and_momentum_as_they_were() -> None:
    guard, model = NonFinite("skip"), Model({5: float("nan"), 9: float("inf")})
    trainer = fit(model, guard)
    assert guard.passed_over == 2
    assert torch.equal(model.weights[5], model.weights[4])
    assert torch.equal(model.weights[9], model.weights[8])
    assert not torch.equal(model.weights[6], model.weights[5])
    steps = trainer.optimizers[0].state[model.layer.weight]["step"]
    assert steps == BATCHES - 2


@pytest.mark.parametrize("policy", ["skip", "rollback"])
def test_running_statistics_stay_clean_too(policy: Any) -> None:
    class Normed(Model):
        def __init__(self) -> None:
            super().__init__({})
            self.layer = torch.nn.Sequential(torch.nn.BatchNorm1d(32), torch.nn.Linear(32, 2))

        def training_step(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
            return self.step(batch.fill_(torch.nan) if batch_idx == 5 else batch)

        def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
            assert all(torch.isfinite(tensor).all() for tensor in self.state_dict().values())

        def train_dataloader(self) -> Any:
            return DataLoader(RandomDataset(32, BATCHES), batch_size=4)

    fit(Normed(), guard := NonFinite(policy))
    assert guard.passed_over == 1


def test_a_gradient_of_any_group_of_parameters_counts() -> None:
    class Groups(Model):
        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD([{"params": [self.layer.bias]}, {"params": [self.layer.weight]}], lr=0.1)

        def on_after_backward(self) -> None:
            if self.trainer.fit_loop.total_batch_idx == 2:
                self.layer.weight.grad.fill_(math.nan)

    model, guard = Groups({}), NonFinite(policy="skip")
    fit(model, guard, limit_train_batches=4)
    assert guard.passed_over == 1
    assert bool(model.layer.weight.isfinite().all())


def test_rollback_goes_back_to_the_last_save_and_on_with_the_next_batch(tmp_path: Path) -> None:
    model = Model({9: float("nan")})
    fit(model, NonFinite("rollback"), SaveAt(6, tmp_path / "some.ckpt"))
    assert torch.equal(model.weights[9], model.weights[5])
    assert len(model.weights) == BATCHES
    assert torch.isfinite(model.weights[-1]).all()


def test_rollback_takes_the_optimizer_along(tmp_path: Path) -> None:
    model = Model({9: float("nan")})
    trainer = fit(model, NonFinite("rollback"), SaveAt(6, tmp_path / "some.ckpt"))
    assert trainer.optimizers[0].state[model.layer.weight]["step"] == BATCHES - 4


def test_a_second_rollback_finds_the_snapshot_as_it_was() -> None:
    model = Model({9: float("nan"), 20: float("nan")})
    fit(model, NonFinite("rollback"))
    assert torch.equal(model.weights[9], model.weights[20])


def test_stop_ends_the_run_at_the_next_step_and_says_how_to_go_on() -> None:
    model = Model({5: float("nan")})
    with pytest.raises(FloatingPointError, match="policy=skip"):
        fit(model, NonFinite("stop", every_step=True))
    assert len(model.weights) == 6


def test_stop_lets_nothing_spoilt_be_saved(tmp_path: Path) -> None:
    with pytest.raises(FloatingPointError):
        fit(Model({5: float("nan")}), NonFinite("stop"), SaveAt(6, tmp_path / "spoilt.ckpt"))
    assert not (tmp_path / "spoilt.ckpt").exists()


def test_stop_does_not_miss_the_last_step() -> None:
    with pytest.raises(FloatingPointError):
        fit(Model({BATCHES - 1: float("nan")}), NonFinite("stop"))


def test_a_budget_that_is_used_up_ends_the_run() -> None:
    model = Model(dict.fromkeys(range(5, 20), float("nan")))
    with pytest.raises(FloatingPointError, match="budget of 3"):
        fit(model, NonFinite("skip", budget=3))
    assert len(model.weights) == 8
    assert torch.isfinite(model.weights[-1]).all()


@pytest.mark.parametrize(("factor", "passed_over"), [(None, 0), (1e3, 1), (1e9, 0)])
def test_a_gradient_far_larger_than_usual_counts_only_when_asked(
    factor: float | None, passed_over: int
) -> None:
    guard = NonFinite("skip", spike_factor=factor)
    fit(Model({30: 1e6}), guard)
    assert guard.passed_over == passed_over


def test_what_is_usual_is_the_mean_of_what_was_seen() -> None:
    guard = NonFinite("skip", spike_factor=3.0)
    norms = [2.0, 4.0] * 15
    assert [guard._problem(norm) for norm in norms] == [None] * 30
    assert guard.state_dict()["usual"] == pytest.approx(3.0)
    assert guard._problem(8.9) is None
    assert guard._problem(10.0) == "the gradient is 3 times larger than usual"


def test_what_is_usual_survives_a_resume(tmp_path: Path) -> None:
    guard = NonFinite("skip", spike_factor=1e3)
    fit(Model({3: float("nan")}), guard, SaveAt(30, tmp_path / "some.ckpt"))
    again = NonFinite("skip", spike_factor=1e3)
    again.load_state_dict(torch.load(tmp_path / "some.ckpt", weights_only=True)["callbacks"]["NonFinite"])
    assert again.passed_over == 1
    assert again.state_dict()["seen"] == 29


def test_it_guards_a_trainer_of_four_methods_as_well() -> None:
    class Own(nl.NimbleTrainer):
        def pre_process(self) -> None:
            self.train_data = (torch.ones(8, 2), torch.arange(8.0))
            self.model = torch.nn.Linear(2, 1)

        def train(self, batch: Any) -> torch.Tensor:
            x, number = batch
            return (self.model(x) * torch.where(number == 3, torch.nan, 1.0).view(-1, 1)).mean()

    from nimble_lightning.settings import DataSettings, RunSettings

    guard = NonFinite("skip")
    module, data = nl.adapt(Own(), settings=RunSettings(data=DataSettings(batch_size=1)))
    fit(module, guard, datamodule=data)
    assert guard.passed_over == 1
    assert all(torch.isfinite(p).all() for p in module.parameters())


@pytest.mark.parametrize("wrong", [{"policy": "pray"}, {"spike_factor": 0.5}])
def test_a_setting_that_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(RequestError, match="expected"):
        NonFinite(**wrong)


def test_the_norm_is_that_of_all_gradients_together() -> None:
    trainer = L.Trainer(accelerator="cpu", logger=False, barebones=True)
    assert float(total_norm([torch.tensor([3.0]), torch.tensor([[4.0]])], trainer)) == 5


def test_stop_costs_no_step_a_hook_and_no_number_but_one_in_many(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[float] = []
    monkeypatch.setattr(DelayedScalar, "put", lambda self, value: read.append(float(value)))
    monkeypatch.setattr(sharded_tensors, "total_norm", None)
    guard = NonFinite()
    fit(Model({}), guard, log_every_n_steps=10)
    assert len(read) == BATCHES / 10
    assert not is_overridden("on_before_optimizer_step", guard, parent=L.Callback)
    assert is_overridden("on_before_optimizer_step", NonFinite(every_step=True), parent=L.Callback)


@pytest.mark.parametrize("bad", ["nan", "inf"])
@pytest.mark.parametrize("at", [0, 5, 9, BATCHES - 1])
def test_stop_ends_the_run_a_batch_after_the_next_loss_that_is_read(at: int, bad: str) -> None:
    model = Model({at: float(bad)})
    with pytest.raises(FloatingPointError, match="callbacks.non_finite=null trains on"):
        fit(model, NonFinite(), log_every_n_steps=10)
    assert len(model.weights) <= min(BATCHES, (at // 10 + 1) * 10 + 1)


def test_stop_finds_weights_that_are_spoilt_by_a_gradient_though_the_loss_was_fine(tmp_path: Path) -> None:
    class Spoilt(Model):
        def on_after_backward(self) -> None:
            if len(self.weights) == BATCHES - 1:
                self.layer.weight.grad.fill_(torch.nan)  # type: ignore[union-attr]

    with pytest.raises(FloatingPointError, match=f"the weights are not finite by step {BATCHES}"):
        fit(Spoilt({}), NonFinite())


def test_stop_lets_scaled_gradients_overflow() -> None:
    """A scaler passes over such steps by itself."""
    guard = NonFinite()
    guard._losses = Losses(None)
    assert guard._losses.next({"loss": torch.tensor(torch.nan)}) is None
    assert guard._losses.last_is_finite


@pytest.mark.parametrize("outputs", [None, {}, {"loss": None}, {"other": torch.ones(2)}, torch.ones(3)])
def test_steps_without_a_loss_are_no_trouble(outputs: Any) -> None:
    losses = Losses(1)
    assert losses.next(outputs) is losses.next(outputs) is None
    assert losses.last_is_finite


@pytest.mark.parametrize(
    ("figures", "fails"), [([math.nan, math.nan], True), ([math.nan, 1.0], False), ([math.inf], True)]
)
def test_a_best_that_is_no_number_is_none(tmp_path: Path, figures: list[float], fails: bool) -> None:
    class Figures(Model):
        def validation_step(self, batch: Any, batch_idx: int) -> None:
            self.log("val_loss", figures[self.current_epoch])

        def val_dataloader(self) -> DataLoader:
            return DataLoader(RandomDataset(32, 1))

    run = partial(
        fit,
        Figures({}),
        NonFinite(),
        BestCheckpoint(dirpath=str(tmp_path)),
        enable_checkpointing=True,
        limit_val_batches=1,
        num_sanity_val_steps=0,
        max_epochs=len(figures),
    )
    if not fails:
        run()
        return
    with pytest.raises(FloatingPointError, match="val_loss was finite in no evaluation"):
        run()
