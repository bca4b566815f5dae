"""What `L.Trainer` offers its own modules it offers adapted ones: options, hooks, callbacks, loggers."""

from __future__ import annotations

from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping, EMAWeightAveraging, LearningRateMonitor
from line_trainer import Line, fitted, trainer

from nimble_lightning import adapt
from nimble_lightning.callbacks import BestCheckpoint
from nimble_lightning.settings import DataSettings, RunSettings


# Lightning takes any sampler but its own for a shuffling one; what is read is right.
@pytest.mark.filterwarnings("ignore:You requested to overfit but enabled")
@pytest.mark.parametrize(
    "options",
    [
        {"fast_dev_run": True},
        {"overfit_batches": 1},
        {"limit_train_batches": 2, "limit_val_batches": 1},
        {"limit_train_batches": 0.5},
        {"val_check_interval": 2, "check_val_every_n_epoch": None},
        {"val_check_interval": 0.5},
        {"max_epochs": -1, "max_steps": 7},
        {"barebones": True},
        {"reload_dataloaders_every_n_epochs": 1},
        {"detect_anomaly": True},
        {"profiler": "simple"},
        {"deterministic": True},
    ],
    ids=str,
)
def test_the_trainers_own_options_do_what_they_do(options: dict[str, Any]) -> None:
    module, data = adapt(Line(), settings=RunSettings(data=DataSettings(batch_size=4)))
    usual = (
        {}
        if "barebones" in options
        else {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    )
    lightning = L.Trainer(
        accelerator="cpu", enable_model_summary=False, **{"max_epochs": 2, **usual, **options}
    )
    lightning.fit(module, datamodule=data)
    expected = {
        "fast_dev_run": 1,
        "overfit_batches": 2,
        "limit_train_batches": 4 if options.get("limit_train_batches") == 2 else 2,
        "max_steps": 7,
    }
    assert lightning.global_step == next((expected[k] for k in options if k in expected), 6)


def test_mixed_precision_trains() -> None:
    module, _ = fitted(Line(), max_epochs=60, precision="bf16-mixed")
    assert float(module.model.weight.detach()) == pytest.approx(2, abs=0.1)


def test_a_fit_with_nothing_to_do_does_nothing() -> None:
    _, lightning = fitted(Line(), max_epochs=0, gradient_clip_val=0.5)
    assert lightning.global_step == 0
    assert lightning.gradient_clip_val == 0.5


def test_loaders_may_be_given_to_fit_directly() -> None:
    x = torch.linspace(-1, 1, 12)[:, None]
    rows = [{"x": a, "y": 2 * a} for a in x]
    module, _ = adapt(
        Line(), settings=RunSettings(schedule={"_target_": "nimble_lightning.optim.schedules.linear"})
    )
    lightning = trainer()
    lightning.fit(module, torch.utils.data.DataLoader(rows, batch_size=4))  # type: ignore[arg-type]
    assert lightning.global_step == 6


def test_hooks_fire_in_lightnings_order() -> None:
    fired: list[str] = []

    class Listens(L.Callback):
        def on_train_batch_start(self, *_: Any) -> None:
            fired.append("batch_start")

        def on_before_zero_grad(self, *_: Any) -> None:
            fired.append("zero_grad")

        def on_before_backward(self, *_: Any) -> None:
            fired.append("before_backward")

        def on_after_backward(self, *_: Any) -> None:
            fired.append("after_backward")

        def on_before_optimizer_step(self, *_: Any) -> None:
            fired.append("optimizer_step")

        def on_train_batch_end(self, *_: Any) -> None:
            fired.append("batch_end")

    fitted(Line(), max_steps=1, callbacks=[Listens()])
    assert fired == [
        "batch_start",
        "zero_grad",
        "before_backward",
        "after_backward",
        "optimizer_step",
        "batch_end",
    ]


def test_lightnings_own_callbacks_work() -> None:
    stopping = EarlyStopping("val_loss", patience=1, min_delta=10.0)
    _, lightning = fitted(
        Line(),
        max_epochs=50,
        callbacks=[stopping, EMAWeightAveraging(decay=0.5), BestCheckpoint()],
        enable_checkpointing=True,
    )
    assert lightning.current_epoch == 2
    assert lightning.checkpoint_callback.best_model_path  # type: ignore[union-attr]


def test_the_learning_rate_monitor_finds_the_schedule(tmp_path: Any) -> None:
    monitor = LearningRateMonitor()
    fitted(Line(), callbacks=[monitor], logger=L.pytorch.loggers.CSVLogger(tmp_path), log_every_n_steps=1)
    assert monitor.lrs


@pytest.mark.parametrize(("metric", "mode"), [("val_loss", "min"), ("near", "max")])
def test_the_best_checkpoint_chooses_metric_and_direction(metric: str, mode: str, tmp_path: Any) -> None:
    class OnlyNear(Line):
        def evaluate(self, batch: Any) -> Any:
            return {"near": super().evaluate(batch)["near"]}

    best = BestCheckpoint(mode=None if metric == "val_loss" else "max")
    fitted(
        Line() if metric == "val_loss" else OnlyNear(),
        callbacks=[best],
        enable_checkpointing=True,
        default_root_dir=tmp_path,
    )
    assert (best.monitor, best.mode) == (metric, mode)


def test_an_epoch_shorter_than_the_log_interval_still_logs_its_loss(tmp_path: Any) -> None:
    fitted(Line(), max_epochs=3, log_every_n_steps=7, logger=L.pytorch.loggers.CSVLogger(tmp_path))
    rows = next(tmp_path.rglob("metrics.csv")).read_text().splitlines()
    column = rows[0].split(",").index("train_loss")
    step = rows[0].split(",").index("step")
    logged = [int(float(row.split(",")[step])) for row in rows[1:] if row.split(",")[column]]
    assert logged == [3, 6, 7], "at the end of two short epochs, and after seven steps"
