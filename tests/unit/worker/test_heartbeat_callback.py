"""A worker says that it saves for as long as it does, and not a moment longer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch.utils.data import DataLoader, IterableDataset

from nimble_lightning.ops.signals import obeyed
from nimble_lightning.runs.heartbeat import Heart, Phase
from nimble_lightning.worker.heartbeat_callback import HeartbeatCallback


class Phases(IterableDataset[torch.Tensor]):
    """Notes what a worker is said to be busy with whenever something is read."""

    def __init__(self, heart: Heart) -> None:
        self.heart = heart
        self.seen: list[Phase] = []

    def __iter__(self) -> Iterator[torch.Tensor]:
        for _ in range(4):
            self.seen.append(self.heart.phase)
            yield torch.ones(1)


class Model(L.LightningModule):
    def __init__(self, heart: Heart) -> None:
        super().__init__()
        self.net, self.heart = torch.nn.Linear(1, 1), heart
        self.saving: list[Phase] = []

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
        return self.net(batch).sum()  # type: ignore[no-any-return]

    def validation_step(self, batch: torch.Tensor, batch_idx: int) -> None:
        self.log("val_loss", self.net(batch).sum())

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.saving.append(self.heart.phase)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def test_a_save_ends_with_itself_and_not_with_the_next_batch(tmp_path: Path) -> None:
    heart = Heart(tmp_path / "heart")
    model, train, val = Model(heart), Phases(heart), Phases(heart)
    trainer = L.Trainer(
        max_epochs=3,
        accelerator="cpu",
        default_root_dir=tmp_path,
        callbacks=[
            HeartbeatCallback(heart),
            ModelCheckpoint(tmp_path, every_n_train_steps=1),
            ModelCheckpoint(tmp_path),
        ],
        val_check_interval=2,
        num_sanity_val_steps=0,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    # As a worker does, but for this test only.
    with obeyed([]):
        trainer.fit(model, DataLoader(train, batch_size=1), DataLoader(val, batch_size=1))
    assert len(model.saving) > 12
    assert set(model.saving) == {Phase.SAVING}
    assert Phase.SAVING not in train.seen + val.seen
    assert set(train.seen[4:]) <= {Phase.TRAINING, Phase.VALIDATING}
