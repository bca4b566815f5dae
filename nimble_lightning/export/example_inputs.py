"""Real arguments of a model, found by listening while the trainer evaluates a batch."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree

from nimble_lightning.errors import ExportError
from nimble_lightning.export.exportable_models import is_adapter, is_hugging_face, plain

# They come from the loop that generates text, not from the data.
_OF_GENERATION = ("cache_position", "past_key_values", "position_ids")


@dataclass
class ExampleCall:
    """One call of a model.

    Attributes:
        args: Positional arguments.
        kwargs: Keywords.
        constants: Keywords that are no data; they become part of what is exported.
    """

    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)
    constants: dict[str, Any] = field(default_factory=dict)

    @property
    def tensors(self) -> list[Tensor]:
        return [leaf for leaf in _pytree.tree_leaves((self.args, self.kwargs)) if isinstance(leaf, Tensor)]

    def map(self, change: Callable[[Tensor], Tensor]) -> ExampleCall:
        args, kwargs = _pytree.tree_map_only(Tensor, change, (self.args, self.kwargs))
        return ExampleCall(args, kwargs, self.constants)


class _Enough(BaseException):
    """Every model was called; the rest of the evaluation is of no interest."""


def record(models: Mapping[str, nn.Module], act: Callable[[], object]) -> dict[str, ExampleCall]:
    """The arguments of the first call of each model while `act` runs; those never called are left out."""
    found: dict[str, ExampleCall] = {}
    handles = [_listen(name, module, found, len(models)) for name, module in models.items()]
    try:
        with torch.no_grad():
            act()
    except _Enough:
        pass
    except Exception as error:
        if not found:
            text = f"evaluating a batch failed: {type(error).__name__}: {error}"
            raise ExportError(f"There is no sample to check an export with: {text}") from error
    finally:
        for handle in handles:
            handle.remove()
    return {name: for_export(models[name], call) for name, call in found.items()}


def _listen(name: str, module: nn.Module, found: dict[str, ExampleCall], count: int) -> Any:
    def note(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if name not in found:
            found[name] = ExampleCall(args, dict(kwargs)).map(lambda tensor: tensor.detach().cpu().clone())
        if len(found) == count:
            raise _Enough

    return module.register_forward_pre_hook(note, with_kwargs=True)


def for_export(model: nn.Module, call: ExampleCall) -> ExampleCall:
    """The call as users of the export would make it: without labels and caches, in full precision."""
    call = _named_inputs(plain(model), call) if is_hugging_face(plain(model)) else _without_constants(call)
    if not call.tensors:
        raise ExportError(f"{type(model).__name__} was called without a tensor, so it cannot be exported.")
    return call.map(lambda t: t.float() if t.is_floating_point() else t)


def of_tokens(model: nn.Module, batch: Any) -> ExampleCall | None:
    """A call with the ids of a batch, where a trainer calls parts of a language model and never itself."""
    ids = batch.get("input_ids") if isinstance(batch, Mapping) else None
    if not isinstance(ids, Tensor) or not (is_hugging_face(model) or is_adapter(model)):
        return None
    return ExampleCall((), {"input_ids": ids.detach().cpu()}, {"use_cache": False})


def _named_inputs(model: nn.Module, call: ExampleCall) -> ExampleCall:
    takes = inspect.signature(model.forward).parameters
    given = {**dict(zip(takes, call.args, strict=False)), **call.kwargs}
    inputs = {
        name: value
        for name, value in given.items()
        if isinstance(value, Tensor) and not name.endswith("labels") and name not in _OF_GENERATION
    }
    shift = getattr(model, "prepare_decoder_input_ids_from_labels", None)
    if shift is not None and "labels" in given and "decoder_input_ids" not in inputs:
        inputs["decoder_input_ids"] = shift(labels=given["labels"])
    return ExampleCall((), inputs, {"use_cache": False} if "use_cache" in takes else {})


def _without_constants(call: ExampleCall) -> ExampleCall:
    constants = {name: value for name, value in call.kwargs.items() if not _has_tensor(value)}
    kwargs = {name: value for name, value in call.kwargs.items() if name not in constants}
    return ExampleCall(call.args, kwargs, constants)


def _has_tensor(value: Any) -> bool:
    return any(isinstance(leaf, Tensor) for leaf in _pytree.tree_leaves(value))
