"""The ways to train the task, each as its own documentation would have it, each run in a process of its own.

A contender takes what is asked, trains, and returns how long its loop took, the trained model and the steps
made. Set-up is not counted.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

from tests.bench.task import BATCH, LR, loss_of, make_data, make_model

# Variables that hold the addresses of services that are dead, each in another way.
DEAD = tuple(f"BENCH_DEAD_{number}" for number in range(1, 6))


@dataclass(frozen=True)
class Asked:
    """How long to train, in which folder, and for ours which callbacks are off, and which on besides."""

    folder: str
    epochs: int
    batches: int
    step_seconds: float = 0.0
    off: tuple[str, ...] = ()
    on: tuple[str, ...] = ()

    @property
    def steps(self) -> int:
        return self.epochs * self.batches


class Clock:
    """Seconds between `start` and `stop`: by the wall, and of this process alone, which is steadier."""

    wall = cpu = 0.0

    def __init__(self) -> None:
        self.steps: list[float] = []

    def start(self) -> None:
        self._began = time.perf_counter(), time.process_time()

    def stop(self) -> None:
        self.wall, self.cpu = time.perf_counter() - self._began[0], time.process_time() - self._began[1]


Trained = tuple[Clock, nn.Module, int]


class Sliced:
    """Shuffled batches cut from tensors, nothing collated."""

    def __init__(self, x: Tensor, y: Tensor) -> None:
        self.x, self.y = x, y

    def __len__(self) -> int:
        return len(self.x) // BATCH

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for rows in torch.randperm(len(self.x)).split(BATCH):
            yield self.x[rows], self.y[rows]


def raw_sliced(asked: Asked) -> Trained:
    return _raw(asked, Sliced(*make_data(asked.batches)))


def raw_loader(asked: Asked) -> Trained:
    return _raw(asked, DataLoader(TensorDataset(*make_data(asked.batches)), batch_size=BATCH, shuffle=True))


def _raw(asked: Asked, batches: Any) -> Trained:
    model = make_model()
    optimizer = torch.optim.AdamW(model.parameters(), lr=LR, fused=True)
    steps, clock = 0, Clock()
    clock.start()
    for _ in range(asked.epochs):
        for x, y in batches:
            optimizer.zero_grad()
            loss_of(model, x, y, asked.step_seconds).backward()
            optimizer.step()
            steps += 1
    clock.stop()
    return clock, model, steps


def hugging_face(asked: Asked) -> Trained:
    """The Trainer with its defaults, except for the rate and its schedule, which are everybody's."""
    from transformers import Trainer, TrainerCallback, TrainingArguments

    clock = Clock()

    class Timing(TrainerCallback):
        def on_train_begin(self, *_: Any, **__: Any) -> None:
            clock.start()

        def on_train_end(self, *_: Any, **__: Any) -> None:
            clock.stop()

    class WithLoss(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = make_model()

        def forward(self, x: Tensor, labels: Tensor) -> dict[str, Tensor]:
            return {"loss": loss_of(self.model, x, labels, asked.step_seconds)}

    class Rows(Dataset[dict[str, Tensor]]):
        def __init__(self) -> None:
            self.x, self.y = make_data(asked.batches)

        def __len__(self) -> int:
            return len(self.x)

        def __getitem__(self, index: int) -> dict[str, Tensor]:
            return {"x": self.x[index], "labels": self.y[index]}

    arguments = TrainingArguments(
        output_dir=asked.folder,
        num_train_epochs=asked.epochs,
        per_device_train_batch_size=BATCH,
        learning_rate=LR,
        lr_scheduler_type="constant",
        report_to="none",
        use_cpu=True,
    )
    module = WithLoss()
    trainer = Trainer(module, arguments, train_dataset=Rows(), callbacks=[Timing()])
    trainer.train()
    return clock, module.model, trainer.state.global_step


def lightning_defaults(asked: Asked) -> Trained:
    """As its introduction has it: a DataLoader, `self.log`, and all the Trainer switches on by itself."""
    import lightning as L

    module = _module(asked, logs=True, fused=False)
    loader = DataLoader(TensorDataset(*make_data(asked.batches)), batch_size=BATCH, shuffle=True)
    trainer = L.Trainer(max_epochs=asked.epochs, default_root_dir=asked.folder, accelerator="cpu", devices=1)
    with timed() as clock:
        trainer.fit(module, loader)
    return clock, module.model, trainer.global_step


def lightning_lean(asked: Asked) -> Trained:
    """Everything off, batches sliced, a fused optimizer: as fast as Lightning goes in its usual form."""
    import lightning as L

    module = _module(asked, logs=False, fused=True)
    trainer = L.Trainer(
        max_epochs=asked.epochs,
        default_root_dir=asked.folder,
        accelerator="cpu",
        devices=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    with timed() as clock:
        trainer.fit(module, Sliced(*make_data(asked.batches)))
    return clock, module.model, trainer.global_step


def _module(asked: Asked, *, logs: bool, fused: bool) -> Any:
    import lightning as L

    class Classifier(L.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.model = make_model()

        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            x, y = batch
            loss = loss_of(self.model, x, y, asked.step_seconds)
            if logs:
                self.log("loss", loss, prog_bar=True)
            return loss

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.AdamW(self.parameters(), lr=LR, fused=fused or None)

    return Classifier()


def ours(asked: Asked) -> Trained:
    """What `nl.run` makes of its default configuration, with logger, checkpoints, bar and callbacks."""
    from nimble_lightning.launch.inline import run_inline
    from tests.bench.task import Small

    small = Small()
    with timed() as clock:
        result = run_inline(_job(asked), small)
    return clock, small.model, int(result.metrics["global_step"])


def _job(asked: Asked) -> Any:
    from hydra import compose, initialize_config_module

    from nimble_lightning.runs.job import Job

    settings = [
        f"lightning.max_epochs={asked.epochs}",
        "lightning.accelerator=cpu",
        "lightning.devices=1",
        f"data.batch_size={BATCH}",
        f"+params.batches={asked.batches}",
        f"+params.step_seconds={asked.step_seconds}",
        *([f"callbacks=[default,{','.join(asked.on)}]"] if asked.on else []),
        *(
            ["callbacks.notification.urls=[" + ",".join(f"secret:{name}" for name in DEAD) + "]"]
            if "notification" in asked.on
            else []
        ),
        *("logger=none" if name == "logger" else f"callbacks.{name}=null" for name in asked.off),
    ]
    with initialize_config_module("nimble_lightning.conf", version_base="1.3"):
        config = compose("config", overrides=settings)
    return Job.from_config(config, trainer="tests.bench.task:Small", folder=asked.folder)


@contextmanager
def timed() -> Iterator[Clock]:
    """Times Lightning's fit loop, saves and ends of epochs included."""
    from lightning.pytorch.loops.fit_loop import _FitLoop
    from lightning.pytorch.loops.training_epoch_loop import _TrainingEpochLoop

    run, advance, clock = _FitLoop.run, _TrainingEpochLoop.advance, Clock()

    def clocked(loop: Any) -> None:
        clock.start()
        run(loop)
        clock.stop()

    def stepped(loop: Any, data_fetcher: Any) -> None:
        advance(loop, data_fetcher)
        clock.steps.append(time.perf_counter())

    with patch.object(_FitLoop, "run", clocked), patch.object(_TrainingEpochLoop, "advance", stepped):
        yield clock


CONTENDERS: dict[str, Callable[[Asked], Trained]] = {
    "raw_sliced": raw_sliced,
    "raw_loader": raw_loader,
    "hugging_face": hugging_face,
    "lightning_defaults": lightning_defaults,
    "lightning_lean": lightning_lean,
    "ours": ours,
}
