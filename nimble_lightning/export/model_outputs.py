"""A model with inputs that have names and outputs that are tensors: what exporters can deal with."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree

from nimble_lightning.errors import ExportError
from nimble_lightning.export.example_inputs import ExampleCall


class Exportable(nn.Module):
    """Calls a model with the constants of a recorded call and returns tensors only."""

    def __init__(self, model: nn.Module, constants: Mapping[str, Any]) -> None:
        super().__init__()
        self.model = model
        self.constants = dict(constants)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return tensors_in(self.model(*args, **kwargs, **self.constants))


def exportable(model: nn.Module, call: ExampleCall) -> Exportable:
    """Wrap a model; an exporter reads the names of its inputs from the signature, so each call gets one."""
    parameters = [
        inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        for name in ("self", *input_names(model, call))
    ]

    def forward(self: Exportable, *args: Any, **kwargs: Any) -> Any:
        return Exportable.forward(self, *args, **kwargs)

    forward.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    kind = type("Exportable", (Exportable,), {"forward": forward})
    wrapped: Exportable = kind(model, call.constants)
    return wrapped.eval()


def input_names(model: nn.Module, call: ExampleCall) -> list[str]:
    """The name of each argument of a call, by the model's own signature."""
    known = inspect.signature(model.forward).parameters.values()
    named = [p.name for p in known if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    named += [f"input_{number}" for number in range(len(named), len(call.args))]
    return [*named[: len(call.args)], *call.kwargs]


def tensors_in(output: Any) -> Any:
    """What a model returned as a tensor, a dict or a tuple of tensors; caches and Nones are left out."""
    if isinstance(output, Tensor):
        return output
    if isinstance(output, Mapping):
        kept = {str(k): tensors_in(v) for k, v in output.items() if k != "past_key_values" and _holds(v)}
    elif isinstance(output, list | tuple):
        return tuple(tensors_in(value) for value in output if _holds(value))
    else:
        values = getattr(output, "__dict__", {})
        kept = {name: tensors_in(value) for name, value in values.items() if _holds(value)}
    if not kept:
        raise ExportError(f"The model returns a {type(output).__name__} without a tensor; return tensors.")
    return kept


def run(model: nn.Module, call: ExampleCall) -> list[Tensor]:
    """The tensors a model returns for a call, in order, in full precision."""
    with torch.no_grad():
        returned = tensors_in(model(*call.args, **call.kwargs, **call.constants))
    return [t.float() if t.is_floating_point() else t for t in _pytree.tree_leaves(returned)]


def output_names(model: nn.Module, call: ExampleCall) -> list[str]:
    """A name for each tensor that `run` returns."""
    with torch.no_grad():
        returned = tensors_in(model(*call.args, **call.kwargs, **call.constants))
    paths, _ = _pytree.tree_flatten_with_path(returned)
    return [_name(path) for path, _ in paths]


def _name(path: tuple[Any, ...]) -> str:
    parts = [str(getattr(key, "key", getattr(key, "idx", key))) for key in path]
    return "_".join(["output", *parts] if not parts or parts[0].isdigit() else parts)


def _holds(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(_holds(item) for item in value.values())
    return isinstance(value, Tensor) or (isinstance(value, list | tuple) and any(map(_holds, value)))
