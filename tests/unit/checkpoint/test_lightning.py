"""Under a real Trainer, with Lightning's own ModelCheckpoint."""

from __future__ import annotations

from pathlib import Path

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch.utils.data import DataLoader, TensorDataset

from nimble_lightning.checkpoint import AsyncNimbleCheckpointIO, NimbleCheckpointIO, newest_whole, verify
from nimble_lightning.errors import CheckpointError


class Line(L.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(2, 1)

    def training_step(self, batch: list[torch.Tensor]) -> torch.Tensor:
        return self.layer(batch[0]).square().mean()

    def configure_optimizers(self) -> dict[str, object]:
        optimizer = torch.optim.AdamW(self.parameters())
        return {"optimizer": optimizer, "lr_scheduler": torch.optim.lr_scheduler.StepLR(optimizer, 1)}

    def train_dataloader(self) -> DataLoader[tuple[torch.Tensor, ...]]:
        return DataLoader(TensorDataset(torch.ones(8, 2)), batch_size=2)


def fit(
    folder: Path, io: NimbleCheckpointIO | AsyncNimbleCheckpointIO, epochs: int, ckpt: Path | None = None
) -> L.Trainer:
    torch.manual_seed(0)
    keeper = ModelCheckpoint(
        folder, every_n_train_steps=2, save_top_k=1, monitor="step", mode="max", save_last=True
    )
    trainer = L.Trainer(
        plugins=[io],
        callbacks=[keeper],
        max_epochs=epochs,
        accelerator="cpu",
        devices=1,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
    )
    trainer.fit(Line(), ckpt_path=ckpt)
    return trainer


@pytest.mark.parametrize("plugin", [NimbleCheckpointIO, AsyncNimbleCheckpointIO])
def test_a_trainer_saves_prunes_finds_and_resumes(
    tmp_path: Path, plugin: type[NimbleCheckpointIO | AsyncNimbleCheckpointIO]
) -> None:
    fit(tmp_path, plugin(), epochs=2)
    assert sorted(path.name for path in tmp_path.glob("*.ckpt")) == ["epoch=1-step=8.ckpt", "last.ckpt"]
    found = newest_whole(tmp_path)
    assert found is not None
    assert (found.manifest.step, found.skipped) == (8, ())
    resumed = fit(tmp_path, plugin(), epochs=3, ckpt=found.path)
    straight = fit(tmp_path / "straight", plugin(), epochs=3)
    assert resumed.global_step == straight.global_step == 12
    assert all(
        torch.equal(mine, other)
        for mine, other in zip(
            resumed.lightning_module.parameters(), straight.lightning_module.parameters(), strict=True
        )
    )
    assert verify(tmp_path / "last.ckpt").step == 12


def test_all_that_a_trainer_dumps_comes_back(tmp_path: Path) -> None:
    trainer = fit(tmp_path, NimbleCheckpointIO(), epochs=1)
    trainer.save_checkpoint(tmp_path / "all.ckpt")
    dumped = trainer._checkpoint_connector.dump_checkpoint(weights_only=False)
    loaded = NimbleCheckpointIO().load_checkpoint(tmp_path / "all.ckpt")
    assert loaded.keys() == dumped.keys()
    assert loaded["loops"] == dumped["loops"]
    assert loaded["lr_schedulers"] == dumped["lr_schedulers"]
    for name, weight in dumped["state_dict"].items():
        assert torch.equal(loaded["state_dict"][name], weight)


def test_a_trainer_refuses_a_damaged_checkpoint(tmp_path: Path) -> None:
    fit(tmp_path, NimbleCheckpointIO(), epochs=1)
    path = tmp_path / "last.ckpt"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match="altered"):
        fit(tmp_path, NimbleCheckpointIO(), epochs=2, ckpt=path)
