"""The best weights are kept, whatever the disk does."""

from __future__ import annotations

import logging
from collections.abc import Collection
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch.demos.boring_classes import BoringDataModule, BoringModel

from nimble_lightning.callbacks import BestCheckpoint
from nimble_lightning.ops.figures import direction


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


@pytest.mark.parametrize(
    ("metric", "expected"),
    [("val_loss", "min"), ("eval/WER", "min"), ("accuracy", "max"), ("glossary", "max"), ("rmse", "min")],
)
def test_the_words_of_a_metric_say_which_way_is_better(metric: str, expected: str) -> None:
    assert direction(metric) == expected
