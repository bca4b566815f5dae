"""Lightning's own loops over our loaders: every sample once and in order, wherever the run was stopped."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from nimble_lightning.data import Loader, make_loader

N, BATCH, EPOCHS = 22, 4, 3


class Model(L.LightningModule):
    """Remembers what it saw and reports each step to the loader."""

    def __init__(self, loader: Loader) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
        self.loader = loader
        self.seen: list[list[int]] = []

    def training_step(self, batch: Any) -> torch.Tensor:
        batch = batch[0] if isinstance(batch, (list, tuple)) else batch
        self.seen.append(batch.tolist())
        return self.layer(batch.float()[:, None]).mean()

    def on_train_batch_end(self, *_: Any) -> None:
        self.loader.consumed()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.01)


class Scheduled(Model):
    """Asks for the number of steps, so that Lightning sets up the data before it restores anything."""

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), 0.01)
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=steps)
        return [optimizer], [{"scheduler": schedule, "interval": "step"}]


class StopAt(L.Callback):
    """Saves at the start of a step and ends the run there, as if it had been killed."""

    def __init__(self, step: int, path: Path) -> None:
        self.step, self.path = step, path
        self.state: dict[str, Any] = {}

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if trainer.global_step == self.step:
            trainer.save_checkpoint(self.path)
            self.state = pl_module.loader.state_dict()
            raise KilledError


class KilledError(Exception):
    pass


class Stream(torch.utils.data.IterableDataset[int]):
    def __iter__(self) -> Iterator[int]:
        return iter(torch.randperm(N).tolist())


SOURCES = {
    "tensors": lambda: torch.arange(N),
    "samples": lambda: list(range(N)),
    "stream": Stream,
    "dataloader": lambda: DataLoader(TensorDataset(torch.arange(N)), batch_size=BATCH, shuffle=True),
    "sampler": lambda: DataLoader(
        list(range(N)), batch_size=BATCH, sampler=torch.utils.data.SubsetRandomSampler(range(N))
    ),
}


def loader_of(kind: str, workers: int = 0, batch_size: int = BATCH) -> Loader:
    return make_loader(SOURCES[kind](), batch_size=batch_size, shuffle=True, num_workers=workers)


def trainer(*callbacks: L.Callback, **settings: Any) -> L.Trainer:
    quiet: dict[str, Any] = {
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "enable_checkpointing": False,
    }
    return L.Trainer(accelerator="cpu", max_epochs=EPOCHS, callbacks=list(callbacks), **{**quiet, **settings})


def fit(kind: str, workers: int = 0, model: type[Model] = Model) -> list[list[int]]:
    whole = model(loader_of(kind, workers))
    trainer().fit(whole, whole.loader)
    return whole.seen


def kill(kind: str, path: Path, step: int, workers: int = 0, model: type[Model] = Model) -> Any:
    stop = StopAt(step, path)
    first = model(loader_of(kind, workers))
    with pytest.raises(KilledError):
        trainer(stop).fit(first, first.loader)
    return first.seen, stop.state


# The first batch, within an epoch, the last batch of an epoch, the first of the next, the last of all.
STEPS = [0, 3, 5, 6, 17]


KINDS = [
    *[("tensors", 0), ("samples", 0), ("samples", 2), ("stream", 0), ("stream", 2)],
    *[("dataloader", 0), ("sampler", 0)],
]


# Each kind at two of the steps in the default run.
@pytest.mark.parametrize(
    ("kind", "workers", "step"),
    [
        pytest.param(kind, workers, step, marks=[] if (row + column) % 5 < 2 else [pytest.mark.slow])
        for row, (kind, workers) in enumerate(KINDS)
        for column, step in enumerate(STEPS)
    ],
)
def test_a_run_goes_on_with_the_batch_it_was_stopped_at(
    tmp_path: Path, kind: str, workers: int, step: int
) -> None:
    whole = fit(kind, workers)
    epochs = [sorted(sum(whole[start : start + 6], [])) for start in (0, 6, 12)]
    assert epochs == [list(range(N))] * EPOCHS
    before, state = kill(kind, tmp_path / "a.ckpt", step, workers)
    after = Model(loader_of(kind, workers))
    after.loader.load_state_dict(state)
    trainer().fit(after, after.loader, ckpt_path=tmp_path / "a.ckpt", weights_only=True)
    assert before + after.seen == whole


@pytest.mark.parametrize("kind", ["tensors", "stream"])
@pytest.mark.parametrize("step", [3, 5, 6])
def test_lightning_alone_restores_the_position_as_well(tmp_path: Path, kind: str, step: int) -> None:
    before, _ = kill(kind, tmp_path / "a.ckpt", step)
    after = Model(loader_of(kind))
    trainer().fit(after, after.loader, ckpt_path=tmp_path / "a.ckpt", weights_only=True)
    assert before + after.seen == fit(kind)


def test_a_schedule_that_asks_for_the_number_of_steps_does_not_lose_the_position(tmp_path: Path) -> None:
    before, state = kill("tensors", tmp_path / "a.ckpt", 8, model=Scheduled)
    after = Scheduled(loader_of("tensors"))
    after.loader.load_state_dict(state)
    trainer().fit(after, after.loader, ckpt_path=tmp_path / "a.ckpt", weights_only=True)
    assert before + after.seen == fit("tensors", model=Scheduled)


def test_a_limit_on_the_batches_of_an_epoch_gives_each_epoch_its_own_order() -> None:
    model = Model(loader_of("tensors"))
    trainer(limit_train_batches=3).fit(model, model.loader)
    assert len(model.seen) == 3 * EPOCHS
    expected = fit("tensors")
    assert model.seen == [batch for start in (0, 6, 12) for batch in expected[start : start + 3]]


def test_sanity_checks_and_repeated_validation_see_the_whole_set_each_time() -> None:
    seen: list[list[int]] = []

    class Validated(Model):
        def validation_step(self, batch: torch.Tensor) -> None:
            seen.append(batch.tolist())

    model = Validated(loader_of("tensors"))
    evaluation = make_loader(list(range(10)), batch_size=4, shuffle=False)
    trainer(val_check_interval=3).fit(model, model.loader, evaluation)
    whole = [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert seen == whole[:2] + whole * 2 * EPOCHS
