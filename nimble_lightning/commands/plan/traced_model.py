"""From the configuration to something that can be traced: a module without weights, a real first batch."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import lightning as L
import torch.distributed as dist
from lightning.pytorch.core.optimizer import _configure_optimizers
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.optim import Optimizer
from torch.testing._internal.distributed.fake_pg import FakeStore

from nimble_lightning.adapters import NimbleModule, optimizers
from nimble_lightning.errors import RequestError
from nimble_lightning.ops.batches import size_of
from nimble_lightning.planning.custom_sharding import Noted, mesh_for, sharding_noted
from nimble_lightning.planning.gpu_emulation import not_traced
from nimble_lightning.planning.machine import Machine
from nimble_lightning.planning.weightless_model import weightless
from nimble_lightning.settings import RunSettings
from nimble_lightning.worker.lightning_objects import Parts, build_parts, made


class FourMethods:
    """A trainer with a `train(batch)`; it steps by itself, under autocast to the end."""

    steps_in_context = True

    def __init__(self, module: NimbleModule) -> None:
        self.module = module

    def loss(self, batch: Any) -> Tensor:
        return self.module.stepping.loss_of(batch, size_of(batch))[0]

    def optimizers(self) -> list[Optimizer]:
        module = self.module
        # A schedule moves the rate and nothing else.
        settings = replace(module.settings, schedule=None)
        made = optimizers.configure(module.user, settings, module._trainer, 1).for_lightning  # type: ignore[arg-type]
        return list(_configure_optimizers(made)[0])


class Lightnings:
    """A LightningModule whose steps Lightning takes."""

    steps_in_context = False

    def __init__(self, module: L.LightningModule) -> None:
        self.module = module
        if not module.automatic_optimization:
            raise RequestError(
                f"{type(module).__name__} optimizes by hand, so what a step does is known only when it is "
                "done. Only modules with automatic_optimization can be planned."
            )

    def loss(self, batch: Any) -> Tensor:
        takes = inspect.signature(self.module.training_step).parameters
        output: Any = self.module.training_step(*(batch, 0)[: len(takes)])
        loss: Tensor = output["loss"] if isinstance(output, Mapping) else output
        return loss

    def optimizers(self) -> list[Optimizer]:
        try:
            made: Any = self.module.configure_optimizers()
        except RuntimeError as error:
            raise RequestError(f"configure_optimizers cannot do without a Trainer: {error}") from None
        return list(_configure_optimizers(made)[0])


@dataclass(frozen=True)
class Prepared:
    """A subject with its first batch."""

    subject: FourMethods | Lightnings
    batch: Any
    noted: Noted
    mode: FakeTensorMode

    @property
    def ours(self) -> bool:
        return isinstance(self.subject, FourMethods)


@contextmanager
def prepared(settings: RunSettings, machine: Machine) -> Iterator[Prepared]:
    """Build what `trainer=` names as one of the ranks, with data and without weights."""
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    # Compiled code could not be watched.
    settings = replace(settings, model=replace(settings.model, compile=False))
    strategy = made(settings.lightning.get("strategy"))
    with _one_of(machine.ranks), sharding_noted() as noted, weightless(mode):
        parts = build_parts(settings, {})
        if parts.user is not None and parts.user.trains_by_itself:
            raise RequestError(
                f"{parts.user.name}.train() does everything by itself, so what it takes is known only by "
                "running it. A train(self, batch) that returns the loss can be planned."
            )
        batch = _first_batch(parts)
        parts.module.setup("fit")
        parts.module._device_mesh = mesh_for(strategy, machine)
        parts.module.configure_model()
        with not_traced(batch):
            yield Prepared(_subject(parts.module), batch, noted, mode)


def _subject(module: L.LightningModule) -> FourMethods | Lightnings:
    return FourMethods(module) if isinstance(module, NimbleModule) else Lightnings(module)


def _first_batch(parts: Parts) -> Any:
    data = parts.data
    if data is not None:
        data.prepare_data()
        data.setup("fit")
    loader = (parts.module if data is None else data).train_dataloader()
    batch = next(iter(loader), None)
    if batch is None:
        raise RequestError("There is no training data, and a plan takes its shapes from the first batch.")
    return batch


@contextmanager
def _one_of(ranks: int) -> Iterator[None]:
    """The first of so many ranks, whose collectives do nothing."""
    if ranks == 1:
        yield
        return
    dist.init_process_group("fake", rank=0, world_size=ranks, store=FakeStore())
    try:
        yield
    finally:
        dist.destroy_process_group()
