"""Models that are built without their weights: shapes and types are there, memory is not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.distributed.tensor import DTensor


@contextmanager
def weightless(mode: FakeTensorMode) -> Iterator[None]:
    """Parameters that modules register in this block hold nothing.

    Memory that was asked for and never written to was never taken, and values drawn for them are not drawn: a
    model of any size can be built. Datasets, tokenizers and buffers are real.
    """
    register, convert = nn.Module.register_parameter, nn.Module._apply

    def register_empty(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        register(module, name, None if parameter is None else _emptied(parameter, mode))

    nn.Module.register_parameter = register_empty  # type: ignore[method-assign, assignment]
    nn.Module._apply = _converter()  # type: ignore[method-assign]
    try:
        yield
    finally:
        nn.Module.register_parameter = register  # type: ignore[method-assign]
        nn.Module._apply = convert  # type: ignore[method-assign]


def _converter() -> Callable[..., nn.Module]:
    """Do what `module.double()` or `module.to(...)` does, with new parameters.

    Those without values cannot be changed. Modules that share a parameter still do afterwards.
    """
    converted: dict[int, tuple[nn.Parameter, nn.Parameter]] = {}

    def another(parameter: nn.Parameter, convert: Callable[[Tensor], Tensor]) -> nn.Parameter:
        if id(parameter) not in converted:
            with torch.no_grad():
                made = convert(parameter)
            new = parameter if made is parameter else nn.Parameter(made, parameter.requires_grad)
            converted[id(parameter)] = parameter, new
        return converted[id(parameter)][1]

    def apply(module: nn.Module, convert: Callable[[Tensor], Tensor], recurse: bool = True) -> nn.Module:
        for child in module.children() if recurse else ():
            child._apply(convert)
        own, buffers = module._parameters, module._buffers
        own.update({name: another(one, convert) for name, one in own.items() if one is not None})
        buffers.update({name: convert(one) for name, one in buffers.items() if one is not None})
        return module

    return apply


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
    if isinstance(parameter, FakeTensor | DTensor) or lazy:
        return parameter
    return _like(parameter, parameter.dtype, mode)


def _like(parameter: nn.Parameter, dtype: torch.dtype, mode: FakeTensorMode) -> nn.Parameter:
    with mode:
        if isinstance(parameter, DTensor):
            empty = torch.empty_like(parameter, dtype=dtype)
        else:
            empty = torch.empty_strided(parameter.size(), parameter.stride(), dtype=dtype)
        return nn.Parameter(empty, requires_grad=parameter.requires_grad)
