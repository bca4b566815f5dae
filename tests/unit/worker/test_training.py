"""What a run logs is placed where its checkpoints are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from torch.utils.data import DataLoader

from nimble_lightning.loggers import JSONLLogger, read_metrics
from nimble_lightning.worker.training import log_by_optimizer_steps


class Module(L.LightningModule):
    """Several optimizers, each with a step a batch."""

    def __init__(self, optimizers: int) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
        self.count, self.automatic_optimization = optimizers, optimizers == 1

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = self.layer(batch).square().mean()
        for optimizer in () if self.automatic_optimization else self.optimizers():  # type: ignore[union-attr]
            optimizer.step()
        self.log("loss", loss)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("steps", float(self.global_step))

    def on_train_epoch_end(self) -> None:
        self.log("steps_of_epoch", float(self.global_step))

    def configure_optimizers(self) -> Any:
        return [torch.optim.SGD(self.parameters(), lr=0.1) for _ in range(self.count)]

    def train_dataloader(self) -> Any:
        return DataLoader(torch.ones(8, 1), batch_size=2)  # type: ignore[arg-type]

    val_dataloader = train_dataloader


@pytest.mark.parametrize(
    ("optimizers", "accumulate", "trained"), [(1, 1, [2, 4, 6, 8]), (2, 1, [4, 8, 12, 16]), (1, 2, [2, 4])]
)
def test_rows_are_at_the_step_of_the_optimizers_they_belong_to(
    optimizers: int, accumulate: int, trained: list[int], tmp_path: Path
) -> None:
    trainer = L.Trainer(
        max_epochs=2, accelerator="cpu", logger=JSONLLogger(tmp_path), log_every_n_steps=2,
        accumulate_grad_batches=accumulate, val_check_interval=2, num_sanity_val_steps=0,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    log_by_optimizer_steps(trainer)
    trainer.fit(Module(optimizers))
    history = read_metrics(tmp_path / "metrics.jsonl")
    assert {row["epoch"] for row in history} == {0, 1}
    rows = [(row["step"], row["metrics"]) for row in history]
    assert [step for step, metrics in rows if "loss" in metrics] == trained
    told = [(step, metrics[name]) for step, metrics in rows for name in metrics if name.startswith("steps")]
    assert len(told) == 6
    assert all(step == steps for step, steps in told)
    assert trainer.global_step == trained[-1] == rows[-1][0]
