"""Models that are built without their weights: shapes and types are there, memory is not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode


@contextmanager
def weightless(mode: FakeTensorMode) -> Iterator[None]:
    """Parameters that modules register in this block hold nothing.

    Memory that was asked for and never written to was never taken, and values drawn for them are not drawn: a
    model of any size can be built. Datasets, tokenizers and buffers are real.
    """
    register = nn.Module.register_parameter

    def register_empty(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        register(module, name, None if parameter is None else _emptied(parameter, mode))

    nn.Module.register_parameter = register_empty  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        nn.Module.register_parameter = register  # type: ignore[method-assign]


@contextmanager
def computing_in(module: nn.Module, dtype: torch.dtype | None, mode: FakeTensorMode) -> Iterator[None]:
    """Parameters of another type for a while, as a strategy that gathers rounded ones would have them."""
    if dtype is None:
        yield
        return
    kept = [(part, dict(part._parameters)) for part in module.modules()]
    rounded: dict[int, nn.Parameter] = {}

    def round_off(parameter: nn.Parameter) -> nn.Parameter:
        if id(parameter) not in rounded:
            to = dtype if parameter.is_floating_point() else parameter.dtype
            rounded[id(parameter)] = _like(parameter, to, mode)
        return rounded[id(parameter)]

    try:
        for part, own in kept:
            part._parameters.update({n: None if p is None else round_off(p) for n, p in own.items()})
        yield
    finally:
        for part, own in kept:
            part._parameters.update(own)


def _emptied(parameter: nn.Parameter, mode: FakeTensorMode) -> nn.Parameter:
    lazy = isinstance(parameter, nn.parameter.UninitializedParameter)
    if isinstance(parameter, FakeTensor) or lazy:
        return parameter
    return _like(parameter, parameter.dtype, mode)


def _like(parameter: nn.Parameter, dtype: torch.dtype, mode: FakeTensorMode) -> nn.Parameter:
    with mode:
        empty = torch.empty_strided(parameter.size(), parameter.stride(), dtype=dtype)
        return nn.Parameter(empty, requires_grad=parameter.requires_grad)
