"""The best weights are kept: the best by their own figures, whatever the disk does."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
import torchmetrics
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch.demos.boring_classes import BoringDataModule, BoringModel

from nimble_lightning.callbacks import BestCheckpoint
from nimble_lightning.errors import RequestError


class Improves(BoringModel):
    """Gets better at every validation."""

    def on_validation_epoch_end(self) -> None:
        self.log("accuracy", torch.tensor(float(self.current_epoch)))


class Failing(TorchCheckpointIO):
    """Fails to save for the times given, or to delete."""

    def __init__(self, saves: Collection[int] = (), deletes: bool = False) -> None:
        self.saves, self.deletes, self.count = saves, deletes, 0

    def save_checkpoint(self, checkpoint: Any, path: Any, storage_options: Any = None) -> None:
        self.count += 1
        if self.count in self.saves:
            raise OSError(28, "No space left on device")
        super().save_checkpoint(checkpoint, path, storage_options)

    def remove_checkpoint(self, path: Any) -> None:
        if self.deletes:
            raise OSError(5, "Input/output error")
        super().remove_checkpoint(path)


def fit(folder: Path, disk: Failing) -> BestCheckpoint:
    best = BestCheckpoint()
    trainer = L.Trainer(
        default_root_dir=folder,
        callbacks=[best],
        plugins=[disk],
        max_epochs=3,
        limit_train_batches=1,
        limit_val_batches=1,
        num_sanity_val_steps=0,
        logger=False,
        accelerator="cpu",
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(Improves(), datamodule=BoringDataModule())
    assert trainer.state.finished
    return best


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "checkpoints" / "best").glob("*.ckpt"))


def test_the_last_best_is_kept_and_the_others_are_gone(tmp_path: Path) -> None:
    best = fit(tmp_path, Failing())
    assert names(tmp_path) == ["best-00000003.ckpt"] == [Path(best.best_model_path).name]


def test_a_best_that_cannot_be_saved_leaves_the_one_before(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        best = fit(tmp_path, Failing(saves={2, 3}))
    assert names(tmp_path) == ["best-00000001.ckpt"] == [Path(best.best_model_path).name]
    assert best.best_model_score == 0.0
    assert "the best weights could not be saved, training goes on" in caplog.text


def test_after_a_failure_a_better_one_is_saved_again(tmp_path: Path) -> None:
    best = fit(tmp_path, Failing(saves={1, 2}))
    assert names(tmp_path) == ["best-00000003.ckpt"] == [Path(best.best_model_path).name]


def test_what_cannot_be_deleted_does_not_end_the_training(tmp_path: Path) -> None:
    best = fit(tmp_path, Failing(deletes=True))
    assert Path(best.best_model_path).name == "best-00000003.ckpt"


class Logs(BoringModel):
    """Logs a figure that takes these values, one a validation."""

    def __init__(self, name: str, values: Sequence[float], metric: torchmetrics.Metric | None = None) -> None:
        super().__init__()
        self.name, self.values, self.metric = name, values, metric

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        output = super().training_step(batch, batch_idx)
        self.log("train/loss", output["loss"])
        return output

    def on_validation_epoch_end(self) -> None:
        value = torch.tensor(float(self.values[self.trainer.current_epoch]))
        if self.metric is not None:
            self.metric.update(value[None], torch.zeros(1))
        self.log(self.name, value if self.metric is None else self.metric)


def watched(folder: Path, model: L.LightningModule, best: BestCheckpoint, **options: Any) -> BestCheckpoint:
    quiet = {
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "accelerator": "cpu",
    }
    few = {"limit_train_batches": 1, "limit_val_batches": 1, "max_epochs": 4, **options}
    trainer = L.Trainer(default_root_dir=folder, callbacks=[best], **quiet, **few)
    trainer.fit(model, datamodule=BoringDataModule())
    return best


VALUES = (3.0, 1.0, 4.0, 2.0)
NAN = float("nan")


@pytest.mark.parametrize(
    ("name", "asked", "step"),
    [
        ("accuracy", {}, 3),
        ("val_ce", {}, 2),
        ("mean_gap", {"mode": "min"}, 2),
        ("mean_gap", {"monitor": "mean_gap", "mode": "max"}, 3),
        ("accuracy", {"monitor": "accuracy", "mode": "min"}, 2),
    ],
)
def test_the_best_is_the_best_of_what_was_logged(
    tmp_path: Path, name: str, asked: dict[str, Any], step: int
) -> None:
    best = watched(tmp_path, Logs(name, VALUES), BestCheckpoint(**asked))
    assert (best.best_step, Path(best.best_model_path).name) == (step, f"best-{step:08d}.ckpt")
    assert float(best.best_model_score or 0.0) == VALUES[step - 1]


def test_the_step_is_that_of_the_best_where_several_are_kept(tmp_path: Path) -> None:
    best = watched(tmp_path, Logs("accuracy", VALUES), BestCheckpoint(save_top_k=3))
    assert (best.best_step, Path(best.best_model_path).name) == (3, "best-00000003.ckpt")
    assert names(tmp_path) == [f"best-{step:08d}.ckpt" for step in (1, 3, 4)]


def test_a_torchmetrics_object_says_which_way_is_better(tmp_path: Path) -> None:
    best = watched(tmp_path, Logs("score", VALUES, torchmetrics.MeanSquaredError()), BestCheckpoint())
    assert best.best_step == 2
    assert str(best.objective) == "score, lower is better (as torchmetrics says)"


def test_where_nobody_knows_what_is_better_the_newest_are_kept_and_it_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    best = watched(tmp_path, Logs("mean_gap", VALUES), BestCheckpoint())
    assert (best.best_step, names(tmp_path)) == (4, ["best-00000004.ckpt"])
    assert [record.getMessage() for record in caplog.records if "best:" in record.getMessage()] == [
        "best: mean_gap (not known to be better lower or higher, type mode=min or mode=max): "
        "the newest weights are kept"
    ]


@pytest.mark.parametrize("name", ["accuracy", "val_ce"])
def test_what_is_no_number_is_never_best(tmp_path: Path, name: str) -> None:
    best = watched(tmp_path, Logs(name, (NAN, 2.0, float("inf"), NAN)), BestCheckpoint())
    assert (best.best_step, best.best_model_score) == (2, 2.0)
    none = watched(tmp_path / "none", Logs(name, (NAN,) * 4), BestCheckpoint())
    assert none.best_model_path == ""


@pytest.mark.parametrize(
    ("asked", "message"),
    [("acuracy", "did you mean accuracy"), ("mean_gap", "Add mode=min or mode=max")],
)
def test_a_monitor_that_cannot_be_followed_is_refused_before_training(
    tmp_path: Path, asked: str, message: str
) -> None:
    model = Logs("accuracy" if asked == "acuracy" else "mean_gap", VALUES)
    with pytest.raises(RequestError, match=message):
        watched(tmp_path, model, BestCheckpoint(asked))
    assert model.trainer.global_step == 0


def test_a_figure_of_the_training_is_followed_when_it_is_asked_for(tmp_path: Path) -> None:
    best = watched(tmp_path, Logs("accuracy", VALUES), BestCheckpoint("train/loss"))
    assert str(best.objective) == "train/loss, lower is better (by its name)"
    assert best.best_step is not None


def test_the_check_before_training_settles_nothing(tmp_path: Path) -> None:
    class Late(Logs):
        def on_validation_epoch_end(self) -> None:
            super().on_validation_epoch_end()
            if not self.trainer.sanity_checking:
                self.log("val_loss", float(VALUES[self.trainer.current_epoch]))

    best = watched(tmp_path, Late("accuracy", VALUES), BestCheckpoint())
    assert str(best.objective) == "val_loss, lower is better (by its name)"
    assert best.best_step == 2


def test_what_was_chosen_comes_back_with_the_checkpoint(tmp_path: Path) -> None:
    first = watched(tmp_path, Logs("accuracy", VALUES), BestCheckpoint())
    again = BestCheckpoint(dirpath=first.dirpath)
    again.load_state_dict(first.state_dict())
    assert (again.objective, again.best_step, again.mode) == (first.objective, 3, "max")
