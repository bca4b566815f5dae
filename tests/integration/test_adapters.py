"""Trainers of four methods under anybody's `L.Trainer`."""

from __future__ import annotations

from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping, EMAWeightAveraging, LearningRateMonitor

from nimble_lightning import adapt
from nimble_lightning.adapters import Clip, DataSettings, Settings
from nimble_lightning.callbacks import BestCheckpoint
from nimble_lightning.errors import RequestError, TrainerError
from nimble_lightning.trainer import NimbleTrainer


class Line(NimbleTrainer):
    """y = 2x, learned by one weight."""

    def pre_process(self, *, samples: int = 12) -> None:
        x = torch.linspace(-1, 1, samples)[:, None]
        self.train_data = {"x": x, "y": 2 * x}
        self.eval_data = (x, 2 * x)
        self.model = torch.nn.Linear(1, 1, bias=False)
        torch.nn.init.zeros_(self.model.weight)
        self.lr = 0.1

    def train(self, batch: Any) -> torch.Tensor:
        return (self.model(batch["x"]) - batch["y"]).square().mean()

    def evaluate(self, batch: Any) -> Any:
        x, y = batch
        return {
            "near": ((self.model(x) - y).abs() < 0.1).squeeze(1),
            "loss": (self.model(x) - y).square().mean(),
        }


def trainer(**options: Any) -> L.Trainer:
    quiet = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    return L.Trainer(accelerator="cpu", **{**quiet, "max_epochs": 2, **options})


def fitted(user: Any, settings: Settings | None = None, **options: Any) -> tuple[Any, L.Trainer]:
    module, data = adapt(user, settings=settings or Settings(data=DataSettings(batch_size=4)))
    lightning = trainer(**options)
    lightning.fit(module, datamodule=data)
    return module, lightning


def test_the_trainer_learns_and_its_metrics_keep_their_names() -> None:
    module, lightning = fitted(Line(), max_epochs=60)
    assert float(module.model.weight.detach()) == pytest.approx(2, abs=0.05)
    assert float(lightning.callback_metrics["near"]) == 1.0
    assert float(lightning.callback_metrics["val_loss"]) < 1e-2
    assert lightning.global_step == 180


def test_the_learning_rate_the_trainer_names_is_used() -> None:
    _, lightning = fitted(Line())
    assert lightning.optimizers[0].param_groups[0]["lr"] == 0.1


def test_a_class_that_is_not_ours_works_as_well() -> None:
    class Plain:
        def pre_process(self) -> None:
            self.train_data = torch.ones(8, 1)
            self.model = torch.nn.Linear(1, 1)

        def train(self, batch: torch.Tensor) -> torch.Tensor:
            self.log("twice", 2.0)  # type: ignore[attr-defined]
            return self.model(batch).sum()  # type: ignore[no-any-return]

    _, lightning = fitted(Plain(), log_every_n_steps=1)
    assert float(lightning.callback_metrics["twice"]) == 2.0
    assert "train_loss" in lightning.callback_metrics


def test_without_evaluate_the_loss_itself_is_evaluated() -> None:
    class Unsupervised(NimbleTrainer):
        def pre_process(self) -> None:
            self.train_data = self.eval_data = torch.ones(6, 1)
            self.model = torch.nn.Linear(1, 1, bias=False)
            torch.nn.init.constant_(self.model.weight, 3.0)

        def train(self, batch: torch.Tensor) -> torch.Tensor:
            return self.model(batch).mean()  # type: ignore[no-any-return]

    module, data = adapt(Unsupervised(), settings=Settings(data=DataSettings(batch_size=4)))
    assert trainer().validate(module, datamodule=data, verbose=False) == [{"val_loss": 3.0}]


def test_metrics_derived_at_the_end_are_reported_beside_the_measured_ones() -> None:
    class Derived(Line):
        def compute_metrics(self, metrics: dict[str, float]) -> dict[str, float]:
            return {"root": metrics["loss"] ** 0.5}

    module, data = adapt(Derived(), settings=Settings())
    found = trainer().validate(module, datamodule=data, verbose=False)[0]
    assert found["root"] == pytest.approx(found["val_loss"] ** 0.5)


def test_the_trainers_own_clipping_and_accumulation_are_honoured_and_given_back() -> None:
    _, lightning = fitted(Line(), gradient_clip_val=0.5, accumulate_grad_batches=2)
    assert lightning.global_step == 4  # 3 batches an epoch: a window of two, and one left over
    assert lightning.gradient_clip_val == 0.5
    assert lightning.accumulate_grad_batches == 2


@pytest.mark.parametrize(("clip", "largest"), [(Clip(norm=0.25), 0.25), (Clip(value=0.125), 0.125)])
def test_gradients_are_clipped_before_the_step(clip: Clip, largest: float) -> None:
    class Sgd(Line):
        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.model.parameters(), lr=1.0)

    module, _ = fitted(Sgd(), Settings(clip=clip, data=DataSettings(batch_size=12)), max_steps=1)
    assert abs(float(module.model.weight.detach())) == pytest.approx(largest)


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


def test_schedules_step_with_the_optimizer_and_know_how_long_the_run_is() -> None:
    schedule = {"_target_": "nimble_lightning.optim.schedules.linear", "warmup": 0}
    _, lightning = fitted(Line(), Settings(schedule=schedule, data=DataSettings(batch_size=4)))
    assert lightning.lr_scheduler_configs[0].scheduler.last_epoch == lightning.global_step == 6
    assert lightning.optimizers[0].param_groups[0]["lr"] == pytest.approx(0.0, abs=1e-9)


def test_a_plateau_schedule_follows_the_validation_loss() -> None:
    class Plateau(Line):
        def configure_optimizers(self) -> Any:
            optimizer = torch.optim.SGD(self.model.parameters(), lr=0.0)
            halve = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=0)
            optimizer.param_groups[0]["lr"] = 1e-12
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": halve, "monitor": "val_loss"}}

    _, lightning = fitted(Plateau(), max_epochs=4)
    assert lightning.lr_scheduler_configs[0].scheduler.last_epoch == 4


def test_a_schedule_by_epoch_steps_by_epoch() -> None:
    class Epochs(Line):
        def configure_optimizers(self) -> Any:
            optimizer = torch.optim.SGD(self.model.parameters(), lr=1.0)
            return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)]

    _, lightning = fitted(Epochs(), max_epochs=3)
    assert lightning.optimizers[0].param_groups[0]["lr"] == 0.125


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

    best = BestCheckpoint()
    fitted(
        Line() if metric == "val_loss" else OnlyNear(),
        callbacks=[best],
        enable_checkpointing=True,
        default_root_dir=tmp_path,
    )
    assert (best.monitor, best.mode) == (metric, mode)


def test_nothing_to_train_is_said_with_the_remedy() -> None:
    class Empty(NimbleTrainer):
        def pre_process(self) -> None:
            self.train_data = torch.ones(4, 1)

        def train(self, batch: Any) -> Any:
            return batch.sum()

    with pytest.raises(TrainerError, match=r"nothing to train.*self\.model"):
        fitted(Empty())


def test_no_data_is_said_with_the_remedy() -> None:
    class NoData(Line):
        def pre_process(self) -> None:  # type: ignore[override]
            self.model = torch.nn.Linear(1, 1)

    with pytest.raises(TrainerError, match=r"no training data.*self\.train_data"):
        fitted(NoData())


def test_a_misspelt_parameter_is_refused() -> None:
    module, data = adapt(Line(), sample=3)
    with pytest.raises(RequestError, match="no parameter 'sample'.*samples"):
        trainer().fit(module, datamodule=data)


def test_an_object_without_the_methods_is_refused() -> None:
    with pytest.raises(RequestError, match="no method pre_process"):
        adapt(object())


def test_several_optimizers_are_refused_with_the_way_to_have_them() -> None:
    class Two(Line):
        def configure_optimizers(self) -> Any:
            return [
                torch.optim.SGD(self.model.parameters(), lr=1.0),
                torch.optim.SGD(self.model.parameters(), lr=1.0),
            ]

    with pytest.raises(TrainerError, match="LightningModule"):
        fitted(Two())


def test_a_loss_that_is_none_is_refused() -> None:
    class Silent(Line):
        def train(self, batch: Any) -> Any:
            return None

    with pytest.raises(TrainerError, match="train returned NoneType"):
        fitted(Silent())


def test_mixed_precision_trains() -> None:
    module, _ = fitted(Line(), max_epochs=60, precision="bf16-mixed")
    assert float(module.model.weight.detach()) == pytest.approx(2, abs=0.1)


def test_gradient_checkpointing_and_compiling_keep_the_numbers_and_the_names() -> None:
    class Deep(Line):
        def pre_process(self) -> None:  # type: ignore[override]
            super().pre_process()
            torch.manual_seed(0)
            self.model = torch.nn.Sequential(
                *(
                    torch.nn.Sequential(torch.nn.Linear(1, 4), torch.nn.Tanh(), torch.nn.Linear(4, 1))
                    for _ in range(3)
                )
            )

    def weights(settings: Settings) -> dict[str, torch.Tensor]:
        return fitted(Deep(), settings)[0].state_dict()  # type: ignore[no-any-return]

    plain = weights(Settings())
    for other in (
        weights(Settings(gradient_checkpointing=True)),
        weights(Settings(compile={"backend": "eager"})),
    ):
        assert plain.keys() == other.keys()
        assert all(torch.equal(plain[k], other[k]) for k in plain)


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
    module, data = adapt(Line(), settings=Settings(data=DataSettings(batch_size=4)))
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


def test_loaders_may_be_given_to_fit_directly() -> None:
    x = torch.linspace(-1, 1, 12)[:, None]
    rows = [{"x": a, "y": 2 * a} for a in x]
    module, _ = adapt(
        Line(), settings=Settings(schedule={"_target_": "nimble_lightning.optim.schedules.linear"})
    )
    lightning = trainer()
    lightning.fit(module, torch.utils.data.DataLoader(rows, batch_size=4))  # type: ignore[arg-type]
    assert lightning.global_step == 6


def test_predictions_are_made_batch_by_batch() -> None:
    class Predicts(Line):
        def predict(self, batch: Any) -> torch.Tensor:
            return batch[0] * 2

    module, data = adapt(Predicts(), settings=Settings(data=DataSettings(eval_batch_size=5)))
    predicted = trainer().predict(module, datamodule=data)
    assert predicted is not None
    assert [len(p) for p in predicted] == [5, 5, 2]  # type: ignore[arg-type]


def test_a_fit_with_nothing_to_do_does_nothing() -> None:
    _, lightning = fitted(Line(), max_epochs=0, gradient_clip_val=0.5)
    assert lightning.global_step == 0
    assert lightning.gradient_clip_val == 0.5


def test_two_fits_in_a_row_go_on_from_each_other() -> None:
    module, data = adapt(Line(), settings=Settings(data=DataSettings(batch_size=4)))
    trainer().fit(module, datamodule=data)
    weight = float(module.model.weight.detach())
    trainer().fit(module, datamodule=data)
    assert float(module.model.weight.detach()) > weight > 0


def test_an_epoch_shorter_than_the_log_interval_still_logs_its_loss(tmp_path: Any) -> None:
    fitted(Line(), max_epochs=3, log_every_n_steps=7, logger=L.pytorch.loggers.CSVLogger(tmp_path))
    rows = next(tmp_path.rglob("metrics.csv")).read_text().splitlines()
    column = rows[0].split(",").index("train_loss")
    step = rows[0].split(",").index("step")
    logged = [int(float(row.split(",")[step])) for row in rows[1:] if row.split(",")[column]]
    assert logged == [3, 6, 7], "at the end of two short epochs, and after seven steps"
