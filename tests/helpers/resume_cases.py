"""Runs that are cut off at a chosen step and continued, and everything they leave behind in comparable form.

Importable by the processes of a two-rank test, which run the same cases.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import EMAWeightAveraging
from torch.nn.functional import mse_loss
from torch.utils.data import DataLoader, Dataset, IterableDataset

from nimble_lightning.adapters import adapt
from nimble_lightning.callbacks import BestCheckpoint, ExactResume
from nimble_lightning.checkpoint import NimbleCheckpointIO
from nimble_lightning.data import rng
from nimble_lightning.loggers import JSONLLogger, read_metrics
from nimble_lightning.settings import DataSettings, RunSettings
from nimble_lightning.trainer import NimbleTrainer

BATCH, EPOCHS = 4, 3
# An epoch has six batches on each rank, the last one smaller; the fourth is followed by a validation.
PER_RANK, VALIDATE_EVERY = 22, 4
SCHEDULES = {
    "cosine": {"_target_": "nimble_lightning.optim.schedules.cosine", "warmup": 3},
    "onecycle": {"_target_": "nimble_lightning.optim.schedules.onecycle"},
    "plateau": {"_target_": "nimble_lightning.optim.schedules.plateau", "patience": 0, "threshold": 0.5},
}


@dataclass(frozen=True)
class Case:
    """What is trained: on which data, with how many loading processes, and with what besides."""

    source: str = "tensors"
    workers: int = 0
    extra: str = "cosine"

    @property
    def foreign(self) -> bool:
        """Whether it is a project of Lightning's own kind, with none of our adapters."""
        return self.extra.startswith("foreign")


class Samples(Dataset[Any]):
    """Read by index, with an augmentation that draws from every generator there is."""

    def __init__(self, count: int) -> None:
        self.x = torch.randn(count, 3, generator=torch.Generator().manual_seed(1))

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        noise = torch.rand(3) + random.random() + float(np.random.rand())
        return index, self.x[index] + 0.1 * noise, self.x[index].sum()


class Stream(IterableDataset[Any]):
    """Read from front to back, in another order each time."""

    def __init__(self, count: int) -> None:
        self.samples = Samples(count)

    def __iter__(self) -> Iterator[Any]:
        return (self.samples[index] for index in torch.randperm(len(self.samples)).tolist())


def hugging_face(count: int) -> Any:
    import datasets

    x = Samples(count).x
    rows = {"index": list(range(count)), "x": x.tolist(), "y": x.sum(1).tolist()}
    return datasets.Dataset.from_dict(rows).to_iterable_dataset(num_shards=3)


def source(kind: str, count: int, workers: int) -> Any:
    if kind == "tensors":
        x = Samples(count).x
        return torch.arange(count), x, x.sum(1)
    if kind == "dataloader":
        return DataLoader(Samples(count), BATCH, shuffle=True, num_workers=workers)
    return {"samples": Samples, "stream": Stream, "hugging_face": hugging_face}[kind](count)


def network() -> torch.nn.Module:
    return torch.nn.Sequential(
        torch.nn.Linear(3, 8), torch.nn.Tanh(), torch.nn.Dropout(0.3), torch.nn.Linear(8, 1)
    )


def noisy_loss(model: torch.nn.Module, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Depends on all three global generators of this process."""
    noise = 0.01 * (random.random() + float(np.random.rand()))
    return mse_loss(model(x.float() + noise).squeeze(1), y.float())


def columns(batch: Any) -> list[torch.Tensor]:
    return list(batch.values()) if isinstance(batch, dict) else list(batch)


class Trainer(NimbleTrainer):
    """Notes which samples each step saw."""

    def pre_process(self, *, kind: str, count: int, workers: int) -> None:
        self.train_data = source(kind, count, workers)
        self.eval_data = source("tensors", 10, 0)
        self.model = network()
        self.lr = 0.02
        self.seen: list[list[int]] = []

    def train(self, batch: Any) -> torch.Tensor:
        index, x, y = columns(batch)
        self.seen.append(index.tolist())
        return noisy_loss(self.model, x, y)

    def evaluate(self, batch: Any) -> dict[str, torch.Tensor]:
        _, x, y = columns(batch)
        return {"loss": mse_loss(self.model(x).squeeze(1), y)}


class Foreign(L.LightningModule):
    """Somebody's own LightningModule, with Lightning's optimization and torch's DataLoader."""

    def __init__(self, count: int, workers: int, plateau: bool) -> None:
        super().__init__()
        self.model = network()
        self.plateau = plateau
        self.count, self.workers = count, workers
        self.seen: list[list[int]] = []

    def train_dataloader(self) -> Any:
        return source("dataloader", self.count, self.workers)

    def val_dataloader(self) -> Any:
        return DataLoader(Samples(10), BATCH)

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        index, x, y = batch
        self.seen.append(index.tolist())
        loss = noisy_loss(self.model, x, y)
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        _, x, y = batch
        self.log("val_loss", mse_loss(self.model(x).squeeze(1), y), sync_dist=True)

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.AdamW(self.parameters(), 0.02)
        if self.plateau:
            falling = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=2, threshold=0.3)
            each_step = {"scheduler": falling, "interval": "step", "monitor": "train_loss"}
            return {"optimizer": optimizer, "lr_scheduler": each_step}
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=steps)
        return [optimizer], [{"scheduler": schedule, "interval": "step"}]


class CutOffError(Exception):
    """Stands for a kill: nothing that happens after it counts."""


class CutOff(L.Callback):
    """Saves when so many steps are done, as `AutoRetry` would; two steps later the run dies."""

    def __init__(self, step: int, path: Path) -> None:
        self.step, self.path, self.batches = step, path, -1

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if trainer.global_step == self.step and self.batches < 0:
            self._save(trainer)
        elif self.batches >= 0 and trainer.fit_loop.total_batch_idx + 1 >= self.batches + 2:
            raise CutOffError

    def on_train_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        if trainer.global_step == self.step:
            self._save(trainer)
        raise CutOffError

    def _save(self, trainer: L.Trainer) -> None:
        trainer.save_checkpoint(self.path)
        self.batches = len(seen_by(trainer.lightning_module))


def run(
    rank: int,
    ranks: int,
    case: Case,
    folder: Path,
    cut: int | None = None,
    resume: bool = False,
    count: int = 0,
) -> Any:
    """Train on this rank, from the start or from the checkpoint in the folder, to the end or until cut off.

    Returns:
        What is left at the end. For a run that was cut off, only which samples it saw before the save.
    """
    # A resumed process begins with other random numbers: they are the same only if they were restored.
    seed_all(rank + (1000 if resume else 0))
    path = folder / "some.ckpt"
    stop = [] if cut is None else [CutOff(cut, path)]
    trainer = trainer_for(case, ranks, folder, stop)
    module, data = parts(case, count or PER_RANK * ranks)
    with suppress(CutOffError):
        trainer.fit(module, datamodule=data, ckpt_path=path if resume else None, weights_only=True)
    if stop:
        return seen_by(module)[: stop[0].batches]
    return everything(trainer, module, folder)


def seed_all(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def parts(case: Case, count: int) -> tuple[Any, Any]:
    if case.foreign:
        return Foreign(count, case.workers, plateau="plateau" in case.extra), None
    settings = RunSettings(
        data=DataSettings(batch_size=BATCH, num_workers=case.workers),
        schedule=SCHEDULES.get(case.extra),
        monitor="val_loss",
    )
    return adapt(Trainer(), settings=settings, kind=case.source, count=count, workers=case.workers)


def trainer_for(case: Case, ranks: int, folder: Path, more: list[Any]) -> L.Trainer:
    callbacks = [ExactResume(), BestCheckpoint(monitor="val_loss", save_top_k=2), *more]
    if "ema" in case.extra:
        callbacks.insert(0, EMAWeightAveraging(decay=0.9))
    return L.Trainer(
        accelerator="cpu",
        devices=ranks,
        strategy="ddp" if ranks > 1 else "auto",
        default_root_dir=folder,
        max_epochs=EPOCHS,
        # A stream has no length that a schedule could be fitted to.
        max_steps=18 if case.source in ("stream", "hugging_face") else -1,
        val_check_interval=VALIDATE_EVERY,
        num_sanity_val_steps=0,
        log_every_n_steps=2,
        accumulate_grad_batches=2 if case.extra == "accumulate" else 1,
        gradient_clip_val=0.5 if case.extra == "clip" else None,
        callbacks=callbacks,
        logger=JSONLLogger(folder),
        plugins=[NimbleCheckpointIO()],
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )


def seen_by(module: Any) -> list[list[int]]:
    return module.seen if isinstance(module, Foreign) else module.user.object.seen


def everything(trainer: L.Trainer, module: Any, folder: Path) -> dict[str, Any]:
    best = next(c for c in trainer.callbacks if isinstance(c, BestCheckpoint))
    averaged = [c for c in trainer.callbacks if isinstance(c, EMAWeightAveraging)]
    # The first rank writes the files; another one would read them too soon.
    first = trainer.is_global_zero
    rows = read_metrics(folder / "metrics.jsonl") if first else []
    kept = (folder / "checkpoints" / "best").glob("*.ckpt") if first else []
    return {
        "seen": seen_by(module),
        "weights": plain(module.state_dict()),
        "optimizer": plain(trainer.optimizers[0].state_dict()),
        "schedules": plain([c.scheduler.state_dict() for c in trainer.lr_scheduler_configs]),
        "averaged": plain([c._average_model.state_dict() for c in averaged]),
        "random": plain(rng.snapshot()),
        "history": [(row["step"], row["metrics"]) for row in rows],
        "metrics": plain(trainer.callback_metrics),
        "best": {Path(name).name: float(score) for name, score in best.best_k_models.items()},
        "best_files": sorted(path.name for path in kept),
        "counted": plain(trainer.fit_loop.state_dict()),
    }


def plain(value: Any) -> Any:
    """Tensors as digests, so that outcomes can be sent between processes and compared bit by bit."""
    if isinstance(value, torch.Tensor):
        data = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        return str(value.dtype), tuple(value.shape), hashlib.sha256(data).hexdigest()
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items() if not callable(item)}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value if not callable(item)]
    return value
