"""From a model without weights to its timeline, and to what its optimizer keeps."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from lightning_utilities.core.apply_func import apply_to_collection
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.optim import Optimizer

from nimble_lightning.ops.batches import size_of
from nimble_lightning.ops.sharded_tensors import held
from nimble_lightning.planning.gpu_emulation import GpuEmulation
from nimble_lightning.planning.layout import ParameterSize
from nimble_lightning.planning.memory_tracker import MemoryTracker, grains
from nimble_lightning.planning.peak_memory import StepModel
from nimble_lightning.planning.timeline import Timeline
from nimble_lightning.planning.weightless_model import computing_in


class Subject(Protocol):
    """What is traced: a module, its loss, and who updates it."""

    @property
    def module(self) -> nn.Module: ...

    @property
    def steps_in_context(self) -> bool:
        """Whether the backward pass, too, runs under autocast."""
        ...

    def loss(self, batch: Any) -> Tensor: ...

    def optimizers(self) -> list[Optimizer]: ...


@dataclass(frozen=True)
class Numbers:
    """The types a pass is computed in.

    Attributes:
        autocast: Of autocast; None without it.
        parameters: Of the parameters; None as they are.
    """

    autocast: torch.dtype | None = None
    parameters: torch.dtype | None = None


def trace(subject: Subject, batch: Any, mode: FakeTensorMode, numbers: Numbers) -> Timeline:
    """Run a batch forward and backward, with tensors that hold nothing, and watch."""
    inputs = 0

    def emptied(tensor: Tensor) -> Tensor:
        nonlocal inputs
        inputs += grains(tensor.untyped_storage().nbytes() if tensor.is_contiguous() else tensor.nbytes)
        return tensor if isinstance(tensor, FakeTensor) else mode.from_tensor(tensor)

    recorder = MemoryTracker()
    with ExitStack() as stack:
        stack.enter_context(computing_in(subject.module, numbers.parameters, mode))
        empty = apply_to_collection(batch, Tensor, emptied)
        for context in (mode, recorder, GpuEmulation(), recorder.watching(subject.module)):
            stack.enter_context(context)
        apply_to_collection(empty, Tensor, recorder.know)
        with torch.autocast("cpu", dtype=numbers.autocast, enabled=numbers.autocast is not None):
            loss = subject.loss(empty)
            if subject.steps_in_context:
                loss.backward()
            copies = recorder.copies
        if not subject.steps_in_context:
            loss.backward()
            copies = recorder.copies
        recorder.note("leave", "")
    for parameter in subject.module.parameters():
        parameter.grad = None
    return Timeline(size_of(batch), inputs, recorder.flops, copies, tuple(recorder.moments), recorder.sent)


def measure(subject: Subject, mode: FakeTensorMode) -> StepModel:
    """Let the optimizer step, with gradients that hold nothing, and look at what it keeps."""
    module = subject.module
    with mode, _with_gradients(module):
        recorder = MemoryTracker()
        optimizers = subject.optimizers()
        for optimizer in optimizers:
            _as_on_a_gpu(optimizer)
            optimizer.step()
        with recorder:
            recorder.know(*_tensors(optimizers), *module.parameters())
            recorder.note("enter", "")
            for optimizer in optimizers:
                optimizer.step()
            recorder.note("leave", "")
        kept = {
            id(parameter): sum(held(t).nbytes for t in _kept(state))
            for optimizer in optimizers
            for parameter, state in optimizer.state.items()
        }
    with torch.no_grad():
        parameters = tuple(
            ParameterSize(
                name, held(p).numel(), p.element_size(), kept.get(id(p), 0), p.requires_grad, p.numel()
            )
            for name, p in module.named_parameters()
        )
    return StepModel(parameters, sum(b.nbytes for b in module.buffers()), recorder.moments[-1].high)


@contextmanager
def _with_gradients(module: nn.Module) -> Iterator[None]:
    for parameter in module.parameters():
        if parameter.requires_grad:
            parameter.grad = torch.empty_like(parameter)
    try:
        yield
    finally:
        for parameter in module.parameters():
            parameter.grad = None


def _kept(state: Any) -> list[Tensor]:
    """Tensors that grow with the parameter; the number of the step does not."""
    return [value for value in state.values() if isinstance(value, Tensor) and value.dim() > 0]


def _tensors(optimizers: list[Optimizer]) -> list[Tensor]:
    return [
        t for o in optimizers for state in o.state.values() for t in state.values() if isinstance(t, Tensor)
    ]


def _as_on_a_gpu(optimizer: Optimizer) -> None:
    """There, torch takes all parameters at once unless told otherwise; that takes more for a moment."""
    for group in optimizer.param_groups:
        if group.get("foreach", True) is None and not group.get("fused"):
            group["foreach"] = True
